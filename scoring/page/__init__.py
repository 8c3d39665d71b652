"""The page: runs, inference records and the boards' history as a static web site, or a live view of a run."""
