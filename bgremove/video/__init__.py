"""Video: read, cut out frame by frame, write, with sound; needs the extra ``video`` (PyAV)."""
