"""The bucket models-fallback in us-ashburn-1.

Written by `ocimlpack bucket export --pulumi`. Needs pulumi and pulumi-oci; the region is that of
`pulumi config set oci:region us-ashburn-1`.
"""

import pulumi
import pulumi_oci as oci

COMPARTMENT = "ocid1.compartment.oc1..aaaaaaaaexampleofacompartment"

namespace = oci.objectstorage.get_namespace(compartment_id=COMPARTMENT).namespace

policy = oci.identity.Policy(
    "service",
    compartment_id=COMPARTMENT,
    name="ocimlpack-models-fallback",
    description="What object storage needs for the bucket models-fallback",
    statements=[
        "Allow service objectstorage-us-ashburn-1 to manage object-family in compartment id ocid1.compartment.oc1..aaaaaaaaexampleofacompartment where target.bucket.name = 'models-fallback'",
    ],
)

bucket = oci.objectstorage.Bucket(
    "models",
    compartment_id=COMPARTMENT,
    namespace=namespace,
    name="models-fallback",
    access_type="NoPublicAccess",
    storage_tier="Standard",
    versioning="Enabled",
    auto_tiering="InfrequentAccess",
    object_events_enabled=True,
    freeform_tags={
        "team": "ml",
        "purpose": "models",
    },
)

lifecycle = oci.objectstorage.ObjectLifecyclePolicy(
    "models",
    bucket=bucket.name,
    namespace=namespace,
    rules=[
        oci.objectstorage.ObjectLifecyclePolicyRuleArgs(
            name="ocimlpack-archive-old",
            action="ARCHIVE",
            target="objects",
            time_amount="30",
            time_unit="DAYS",
            is_enabled=True,
            object_name_filter=oci.objectstorage.ObjectLifecyclePolicyRuleObjectNameFilterArgs(
                inclusion_patterns=["old/*"],
            ),
        ),
        oci.objectstorage.ObjectLifecyclePolicyRuleArgs(
            name="ocimlpack-delete-expired",
            action="DELETE",
            target="objects",
            time_amount="365",
            time_unit="DAYS",
            is_enabled=True,
            object_name_filter=oci.objectstorage.ObjectLifecyclePolicyRuleObjectNameFilterArgs(
                inclusion_patterns=["expired/*"],
            ),
        ),
        oci.objectstorage.ObjectLifecyclePolicyRuleArgs(
            name="ocimlpack-delete-previous",
            action="DELETE",
            target="previous-object-versions",
            time_amount="365",
            time_unit="DAYS",
            is_enabled=True,
        ),
        oci.objectstorage.ObjectLifecyclePolicyRuleArgs(
            name="ocimlpack-abort-uploads",
            action="ABORT",
            target="multipart-uploads",
            time_amount="7",
            time_unit="DAYS",
            is_enabled=True,
        ),
    ],
    opts=pulumi.ResourceOptions(depends_on=[policy]),
)

log_group = oci.logging.LogGroup(
    "models",
    compartment_id=COMPARTMENT,
    display_name="ocimlpack",
)

read_log = oci.logging.Log(
    "read",
    log_group_id=log_group.id,
    display_name="models-fallback-read",
    log_type="SERVICE",
    is_enabled=True,
    retention_duration=30,
    configuration=oci.logging.LogConfigurationArgs(
        compartment_id=COMPARTMENT,
        source=oci.logging.LogConfigurationSourceArgs(
            source_type="OCISERVICE",
            service="objectstorage",
            resource=bucket.name,
            category="read",
        ),
    ),
)

write_log = oci.logging.Log(
    "write",
    log_group_id=log_group.id,
    display_name="models-fallback-write",
    log_type="SERVICE",
    is_enabled=True,
    retention_duration=30,
    configuration=oci.logging.LogConfigurationArgs(
        compartment_id=COMPARTMENT,
        source=oci.logging.LogConfigurationSourceArgs(
            source_type="OCISERVICE",
            service="objectstorage",
            resource=bucket.name,
            category="write",
        ),
    ),
)

read_url = oci.objectstorage.Preauthrequest(
    "read",
    bucket=bucket.name,
    namespace=namespace,
    name="ocimlpack-read",
    access_type="AnyObjectRead",
    bucket_listing_action="Deny",
    time_expires="2027-06-30T00:00:00Z",
)

pulumi.export("bucket_name", bucket.name)
pulumi.export("bucket_id", bucket.bucket_id)
