"""More pictures than one run, or one machine, can be trusted with: lists, journals, engines."""
