"""`make gpu-check`: the engine on this machine's GPUs, fifteen checks, one table and one JSON."""
