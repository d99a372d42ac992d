"""Other ways to decode a bundle's weights, for `a2d bench --against NAME`: honest baselines, no piece of a2d's loop."""
