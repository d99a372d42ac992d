"""The pace of one machine: measured times of a bundle's forwards, and where they are kept."""
