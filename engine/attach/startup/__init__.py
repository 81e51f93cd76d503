"""A folder for PYTHONPATH: its `sitecustomize` attaches trainers of scripts nobody changed."""
