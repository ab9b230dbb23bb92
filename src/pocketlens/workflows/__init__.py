"""The verbs; the only place that wires the families together."""
