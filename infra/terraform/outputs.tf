output "release_uri" {
  description = "Begin the job file's `output` with this."
  value       = "s3://${aws_s3_bucket.this["release"].bucket}"
}

output "ledger_uri" {
  description = "Begin the job file's `ledger` with this."
  value       = "s3://${aws_s3_bucket.this["ledger"].bucket}"
}

output "head_instance_profile_arn" {
  description = "For the head in infra/ray-cluster.yaml."
  value       = aws_iam_instance_profile.head.arn
}

output "worker_instance_profile_arn" {
  description = "For the workers in infra/ray-cluster.yaml."
  value       = aws_iam_instance_profile.worker.arn
}

output "worker_role_arn" {
  description = "For the service account of infra/rayjob.yaml."
  value       = aws_iam_role.worker.arn
}

output "reader_role_arn" {
  description = "For whoever uses the release."
  value       = aws_iam_role.reader.arn
}
