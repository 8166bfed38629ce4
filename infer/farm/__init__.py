"""The farm: work spread over the machines of a Ray cluster."""
