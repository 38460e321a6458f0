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
locals {
  asked    = "s3:x-amz-server-side-encryption"
  with_key = "s3:x-amz-server-side-encryption-aws-kms-key-id"
}

data "aws_iam_policy_document" "own_key" {
  for_each = local.buckets

  dynamic "statement" {
    for_each = {
      OtherKey = [
        { test = "Null", variable = local.with_key, value = "false" },
        { test = "StringNotEquals", variable = local.with_key, value = aws_kms_key.this[each.key].arn },
      ]
      AccountsKey = [
        { test = "Null", variable = local.with_key, value = "true" },
        { test = "StringLike", variable = local.asked, value = "aws:kms*" },
      ]
      OtherAlgorithm = [
        { test = "Null", variable = local.asked, value = "false" },
        { test = "StringNotEquals", variable = local.asked, value = "aws:kms" },
      ]
      CallersKey = [
        { test = "Null", variable = "s3:x-amz-server-side-encryption-customer-algorithm", value = "false" },
      ]
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
        for_each = statement.value
        content {
          test     = condition.value.test
          variable = condition.value.variable
          values   = [condition.value.value]
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
