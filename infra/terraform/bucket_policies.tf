# What no role may do in a bucket, whatever its own policy allows: use plain http, or write under another key.

data "aws_iam_policy_document" "tls_only" {
  for_each = local.all_buckets
  statement {
    sid       = "TlsOnly"
    effect    = "Deny"
    actions   = ["s3:*"]
    resources = [each.value.arn, "${each.value.arn}/*"]
    principals {
      type        = "AWS"
      identifiers = ["*"]
    }
    condition {
      test     = "Bool"
      variable = "aws:SecureTransport"
      values   = ["false"]
    }
  }
}

# A request without these headers passes, because the bucket's default then encrypts it. In a Deny, `StringNotEquals` holds for a
# header that is not there, too; hence `Null`.
data "aws_iam_policy_document" "own_key" {
  for_each = local.buckets

  dynamic "statement" {
    for_each = {
      OtherKey       = { StringNotEquals = { "s3:x-amz-server-side-encryption-aws-kms-key-id" = aws_kms_key.this[each.key].arn }, Null = { "s3:x-amz-server-side-encryption-aws-kms-key-id" = "false" } }
      AccountsKey    = { StringLike = { "s3:x-amz-server-side-encryption" = "aws:kms*" }, Null = { "s3:x-amz-server-side-encryption-aws-kms-key-id" = "true" } }
      OtherAlgorithm = { StringNotEquals = { "s3:x-amz-server-side-encryption" = "aws:kms" }, Null = { "s3:x-amz-server-side-encryption" = "false" } }
      CallersKey     = { Null = { "s3:x-amz-server-side-encryption-customer-algorithm" = "false" } }
    }
    content {
      sid       = statement.key
      effect    = "Deny"
      actions   = ["s3:PutObject"]
      resources = ["${aws_s3_bucket.this[each.key].arn}/*"]
      principals {
        type        = "AWS"
        identifiers = ["*"]
      }
      dynamic "condition" {
        for_each = merge([for test, own in statement.value : { for variable, value in own : "${test} ${variable}" => value }]...)
        content {
          test     = split(" ", condition.key)[0]
          variable = split(" ", condition.key)[1]
          values   = [condition.value]
        }
      }
    }
  }
}

data "aws_iam_policy_document" "log_delivery" {
  statement {
    sid       = "LogDelivery"
    actions   = ["s3:PutObject"]
    resources = ["${aws_s3_bucket.logs.arn}/ledger/*"]
    principals {
      type        = "Service"
      identifiers = ["logging.s3.amazonaws.com"]
    }
    condition {
      test     = "ArnLike"
      variable = "aws:SourceArn"
      values   = [aws_s3_bucket.this["ledger"].arn]
    }
    condition {
      test     = "StringEquals"
      variable = "aws:SourceAccount"
      values   = [local.account]
    }
  }
}

data "aws_iam_policy_document" "bucket" {
  for_each = local.all_buckets
  source_policy_documents = compact([
    data.aws_iam_policy_document.tls_only[each.key].json,
    try(data.aws_iam_policy_document.own_key[each.key].json, ""),
    each.key == "logs" ? data.aws_iam_policy_document.log_delivery.json : "",
  ])
}

resource "aws_s3_bucket_policy" "this" {
  for_each   = local.all_buckets
  bucket     = each.value.id
  policy     = data.aws_iam_policy_document.bucket[each.key].json
  depends_on = [aws_s3_bucket_public_access_block.this]
}
