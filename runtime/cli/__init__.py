"""The subcommands of `a2d`, one file each: arguments in, calls to the runtime, output out."""
