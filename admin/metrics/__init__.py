"""What Prometheus can ask of a datacenter."""
