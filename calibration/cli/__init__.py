"""The subcommands of `a2d` for quantized precisions, one file each: arguments in, a report out."""
