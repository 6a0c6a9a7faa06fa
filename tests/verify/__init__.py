"""The long proof: what takes too long for every change, done unattended, resumable, with a report to commit."""
