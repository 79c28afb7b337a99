"""Names and addresses, connecting and listening: what happens before there is a stream."""
