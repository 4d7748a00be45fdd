"""comeback: brings quiet users back, from push to e-mail to SMS, until they return."""

__version__ = "0.1.0"
