"""One file a kind of graph: its modules, ports, program and cases. They know shapes, not checkpoints."""
