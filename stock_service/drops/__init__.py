"""Drops, first come, first served: a gate decides, the journal makes it durable, Kafka has it issued."""
