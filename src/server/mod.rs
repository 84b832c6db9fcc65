//! Sockets: FastCGI and HTTP in front of the service.
