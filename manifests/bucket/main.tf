# The bucket models-fallback in us-ashburn-1
# Written by `ocimlpack bucket export --terraform`.

terraform {
  required_providers {
    oci = {
      source = "oracle/oci"
    }
  }
}

provider "oci" {
  region = "us-ashburn-1"
}

data "oci_objectstorage_namespace" "models" {
  compartment_id = "ocid1.compartment.oc1..aaaaaaaaexampleofacompartment"
}

resource "oci_identity_policy" "service" {
  compartment_id = "ocid1.compartment.oc1..aaaaaaaaexampleofacompartment"
  name           = "ocimlpack-models-fallback"
  description    = "What object storage needs for the bucket models-fallback"
  statements = [
    "Allow service objectstorage-us-ashburn-1 to manage object-family in compartment id ocid1.compartment.oc1..aaaaaaaaexampleofacompartment where target.bucket.name = 'models-fallback'",
  ]
}

resource "oci_objectstorage_bucket" "models" {
  compartment_id        = "ocid1.compartment.oc1..aaaaaaaaexampleofacompartment"
  namespace             = data.oci_objectstorage_namespace.models.namespace
  name                  = "models-fallback"
  access_type           = "NoPublicAccess"
  storage_tier          = "Standard"
  versioning            = "Enabled"
  auto_tiering          = "InfrequentAccess"
  object_events_enabled = true
  freeform_tags = {
    "team"    = "ml"
    "purpose" = "models"
  }
}

resource "oci_objectstorage_object_lifecycle_policy" "models" {
  namespace  = data.oci_objectstorage_namespace.models.namespace
  bucket     = oci_objectstorage_bucket.models.name
  depends_on = [oci_identity_policy.service]

  rules {
    name        = "ocimlpack-archive-old"
    action      = "ARCHIVE"
    target      = "objects"
    time_amount = "30"
    time_unit   = "DAYS"
    is_enabled  = true

    object_name_filter {
      inclusion_patterns = ["old/*"]
    }
  }

  rules {
    name        = "ocimlpack-delete-expired"
    action      = "DELETE"
    target      = "objects"
    time_amount = "365"
    time_unit   = "DAYS"
    is_enabled  = true

    object_name_filter {
      inclusion_patterns = ["expired/*"]
    }
  }

  rules {
    name        = "ocimlpack-delete-previous"
    action      = "DELETE"
    target      = "previous-object-versions"
    time_amount = "365"
    time_unit   = "DAYS"
    is_enabled  = true
  }

  rules {
    name        = "ocimlpack-abort-uploads"
    action      = "ABORT"
    target      = "multipart-uploads"
    time_amount = "7"
    time_unit   = "DAYS"
    is_enabled  = true
  }
}

resource "oci_logging_log_group" "models" {
  compartment_id = "ocid1.compartment.oc1..aaaaaaaaexampleofacompartment"
  display_name   = "ocimlpack"
}

resource "oci_logging_log" "read" {
  log_group_id       = oci_logging_log_group.models.id
  display_name       = "models-fallback-read"
  log_type           = "SERVICE"
  is_enabled         = true
  retention_duration = 30

  configuration {
    compartment_id = "ocid1.compartment.oc1..aaaaaaaaexampleofacompartment"

    source {
      source_type = "OCISERVICE"
      service     = "objectstorage"
      resource    = oci_objectstorage_bucket.models.name
      category    = "read"
    }
  }
}

resource "oci_logging_log" "write" {
  log_group_id       = oci_logging_log_group.models.id
  display_name       = "models-fallback-write"
  log_type           = "SERVICE"
  is_enabled         = true
  retention_duration = 30

  configuration {
    compartment_id = "ocid1.compartment.oc1..aaaaaaaaexampleofacompartment"

    source {
      source_type = "OCISERVICE"
      service     = "objectstorage"
      resource    = oci_objectstorage_bucket.models.name
      category    = "write"
    }
  }
}

resource "oci_objectstorage_preauthrequest" "read" {
  namespace             = data.oci_objectstorage_namespace.models.namespace
  bucket                = oci_objectstorage_bucket.models.name
  name                  = "ocimlpack-read"
  access_type           = "AnyObjectRead"
  bucket_listing_action = "Deny"
  time_expires          = "2027-06-30T00:00:00Z"
}

output "bucket_name" {
  value = oci_objectstorage_bucket.models.name
}

output "bucket_id" {
  value = oci_objectstorage_bucket.models.bucket_id
}
