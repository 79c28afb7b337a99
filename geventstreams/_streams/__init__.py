"""`SocketStream`, from the engine up to both vocabularies and TLS that is attached in mid-stream."""
