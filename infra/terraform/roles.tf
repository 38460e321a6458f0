# Workers read the input and write release and ledger; so do the head (head.tf) and the people who review, release and erase.
# Readers see the release alone. It holds nothing that leads back to a source.

data "aws_iam_policy_document" "ec2_trust" {
  statement {
    actions = ["sts:AssumeRole"]
    principals {
      type        = "Service"
      identifiers = ["ec2.amazonaws.com"]
    }
  }
}

locals {
  oidc_issuer = var.eks_oidc_provider_arn == null ? "" : element(split("oidc-provider/", var.eks_oidc_provider_arn), 1)
}

data "aws_iam_policy_document" "worker_trust" {
  source_policy_documents = [data.aws_iam_policy_document.ec2_trust.json]

  dynamic "statement" {
    for_each = length(var.operator_principal_arns) == 0 ? [] : [var.operator_principal_arns]
    content {
      sid     = "Operators"
      actions = ["sts:AssumeRole"]
      principals {
        type        = "AWS"
        identifiers = statement.value
      }
    }
  }

  dynamic "statement" {
    for_each = var.eks_oidc_provider_arn == null ? [] : [var.eks_oidc_provider_arn]
    content {
      sid     = "ServiceAccount"
      actions = ["sts:AssumeRoleWithWebIdentity"]
      principals {
        type        = "Federated"
        identifiers = [statement.value]
      }
      condition {
        test     = "StringEquals"
        variable = "${local.oidc_issuer}:sub"
        values   = ["system:serviceaccount:${var.eks_namespace}:anon-batch"]
      }
      condition {
        test     = "StringEquals"
        variable = "${local.oidc_issuer}:aud"
        values   = ["sts.amazonaws.com"]
      }
    }
  }
}

data "aws_iam_policy_document" "worker" {
  statement {
    sid       = "ReadInput"
    actions   = ["s3:GetObject"]
    resources = [for bucket in var.input_bucket_arns : "${bucket}/*"]
  }
  statement {
    sid       = "ListInput"
    actions   = ["s3:ListBucket", "s3:GetBucketLocation"]
    resources = var.input_bucket_arns
  }
  statement {
    sid       = "WriteOutput"
    actions   = ["s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload", "s3:ListMultipartUploadParts"]
    resources = [for bucket in aws_s3_bucket.this : "${bucket.arn}/*"]
  }
  # ListBucketVersions, because `erase` and `keys destroy` look for versions that somebody made the bucket keep.
  statement {
    sid       = "ListOutput"
    actions   = ["s3:ListBucket", "s3:ListBucketVersions", "s3:GetBucketLocation"]
    resources = [for bucket in aws_s3_bucket.this : bucket.arn]
  }
  statement {
    sid       = "UseKeys"
    actions   = ["kms:Decrypt", "kms:GenerateDataKey"]
    resources = [for key in aws_kms_key.this : key.arn]
  }
  dynamic "statement" {
    for_each = length(var.input_kms_key_arns) == 0 ? [] : [var.input_kms_key_arns]
    content {
      sid       = "DecryptInput"
      actions   = ["kms:Decrypt"]
      resources = statement.value
    }
  }
  dynamic "statement" {
    for_each = length(var.image_repository_arns) == 0 ? [] : [var.image_repository_arns]
    content {
      sid       = "PullImage"
      actions   = ["ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"]
      resources = statement.value
    }
  }
  dynamic "statement" {
    for_each = length(var.image_repository_arns) == 0 ? [] : [1]
    content {
      sid       = "LogInToRegistry"
      actions   = ["ecr:GetAuthorizationToken"]
      resources = ["*"] # because it is the account's
    }
  }
}

resource "aws_iam_role" "worker" {
  name                 = "${var.prefix}-worker"
  assume_role_policy   = data.aws_iam_policy_document.worker_trust.json
  max_session_duration = 12 * 3600 # because a driver outside AWS holds one session for a run
}

resource "aws_iam_role_policy" "worker" {
  name   = "data"
  role   = aws_iam_role.worker.id
  policy = data.aws_iam_policy_document.worker.json
}

resource "aws_iam_instance_profile" "worker" {
  name = "${var.prefix}-worker"
  role = aws_iam_role.worker.name
}

data "aws_iam_policy_document" "reader_trust" {
  statement {
    actions = ["sts:AssumeRole"]
    principals {
      type        = "AWS"
      identifiers = length(var.reader_principal_arns) > 0 ? var.reader_principal_arns : [local.account]
    }
  }
}

data "aws_iam_policy_document" "reader" {
  statement {
    sid       = "ReadRelease"
    actions   = ["s3:GetObject"]
    resources = ["${aws_s3_bucket.this["release"].arn}/*"]
  }
  statement {
    sid       = "ListRelease"
    actions   = ["s3:ListBucket", "s3:GetBucketLocation"]
    resources = [aws_s3_bucket.this["release"].arn]
  }
  statement {
    sid       = "DecryptRelease"
    actions   = ["kms:Decrypt"]
    resources = [aws_kms_key.this["release"].arn]
  }
}

resource "aws_iam_role" "reader" {
  name               = "${var.prefix}-reader"
  assume_role_policy = data.aws_iam_policy_document.reader_trust.json
}

resource "aws_iam_role_policy" "reader" {
  name   = "release"
  role   = aws_iam_role.reader.id
  policy = data.aws_iam_policy_document.reader.json
}
