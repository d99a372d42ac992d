"""The demo: frames with their truth read in several ways, and what that cost, as lines and as a page."""
