resource "aws_s3_bucket" "this" {
  for_each = local.buckets
  bucket   = each.value
}

# Because an output that a later attempt withholds, an image that is erased and a run key that is destroyed must be gone,
# neither bucket keeps versions. For the same reason nothing is replicated.
resource "aws_s3_bucket_versioning" "this" {
  for_each = local.buckets
  bucket   = aws_s3_bucket.this[each.key].id
  versioning_configuration {
    status = "Disabled"
  }
}

# The job file asks for no encryption, so each bucket applies its own key. A bucket key spares one call of KMS an object.
resource "aws_s3_bucket_server_side_encryption_configuration" "this" {
  for_each = local.buckets
  bucket   = aws_s3_bucket.this[each.key].id
  rule {
    bucket_key_enabled = true
    apply_server_side_encryption_by_default {
      sse_algorithm     = "aws:kms"
      kms_master_key_id = aws_kms_key.this[each.key].arn
    }
  }
}

resource "aws_s3_bucket_lifecycle_configuration" "this" {
  for_each = local.buckets
  bucket   = aws_s3_bucket.this[each.key].id
  rule {
    id     = "abort-unfinished-uploads"
    status = "Enabled"
    filter {}
    abort_incomplete_multipart_upload {
      days_after_initiation = 2
    }
  }
}

resource "aws_s3_bucket" "logs" {
  bucket = "${var.prefix}-logs"
}

# Because S3's log service writes here and may not use the keys above, S3's own key encrypts this bucket.
resource "aws_s3_bucket_server_side_encryption_configuration" "logs" {
  bucket = aws_s3_bucket.logs.id
  rule {
    apply_server_side_encryption_by_default {
      sse_algorithm = "AES256"
    }
  }
}

resource "aws_s3_bucket_lifecycle_configuration" "logs" {
  bucket = aws_s3_bucket.logs.id
  rule {
    id     = "forget"
    status = "Enabled"
    filter {}
    expiration {
      days = var.access_log_days
    }
    abort_incomplete_multipart_upload {
      days_after_initiation = 2
    }
  }
}

# Each request to the ledger becomes a line in LOGS/ledger/, some hours later: who, when, from where, which key.
resource "aws_s3_bucket_logging" "ledger" {
  bucket        = aws_s3_bucket.this["ledger"].id
  target_bucket = aws_s3_bucket.logs.id
  target_prefix = "ledger/"
  depends_on    = [aws_s3_bucket_policy.this]
}

resource "aws_s3_bucket_public_access_block" "this" {
  for_each                = local.all_buckets
  bucket                  = each.value.id
  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

resource "aws_s3_bucket_ownership_controls" "this" {
  for_each = local.all_buckets
  bucket   = each.value.id
  rule {
    object_ownership = "BucketOwnerEnforced"
  }
}
