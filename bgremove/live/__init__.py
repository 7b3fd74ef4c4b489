"""Live: a camera, or a file in real time, cut out frame by frame; it drops frames rather than lag."""
