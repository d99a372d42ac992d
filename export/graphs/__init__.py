"""One file for each kind of graph: modules, ports, program and cases. They know shapes, not checkpoints."""
