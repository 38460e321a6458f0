output "job" {
  description = "Keys of the job file: `terraform output -json | anon-batch config --from-terraform - --set name=NAME`."
  value = {
    output = "s3://${aws_s3_bucket.this["release"].bucket}"
    ledger = "s3://${aws_s3_bucket.this["ledger"].bucket}"
    storage = {
      options = {
        for bucket in aws_s3_bucket.this : "s3://${bucket.bucket}/" => { client_kwargs = { region_name = var.region } }
      }
    }
  }
}

output "head_instance_profile_arn" {
  description = "For the head of `ray up`."
  value       = aws_iam_instance_profile.head.arn
}

output "worker_instance_profile_arn" {
  description = "For the workers of `ray up`."
  value       = aws_iam_instance_profile.worker.arn
}

output "worker_role_arn" {
  description = "For the service account of infra/rayjob.yaml, and for operators."
  value       = aws_iam_role.worker.arn
}

output "reader_role_arn" {
  description = "For whoever uses the release."
  value       = aws_iam_role.reader.arn
}

output "key_arns" {
  description = "The keys of release and ledger; their buckets apply them without being asked."
  value       = { for name, key in aws_kms_key.this : name => key.arn }
}

output "access_logs_uri" {
  description = "Where requests to the ledger are logged."
  value       = "s3://${aws_s3_bucket.logs.bucket}/ledger/"
}
