"""The worker process that decodes for a host program, and the messages that the two exchange."""
