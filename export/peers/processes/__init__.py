"""Programs that other engines' environments run; nothing of a2d is installed there, and nothing here imports them."""
