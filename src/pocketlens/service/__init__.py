"""The service: HTTP, jobs, storage. Without torch, but for trainings in their own processes."""
