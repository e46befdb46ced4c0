"""Object storage: buckets, objects in versions and parts, lifecycle, archive, pre-authenticated.

https://docs.oracle.com/en-us/iaas/api/#/en/objectstorage/20160918/; each module says where what it
does is known from. Auto-tiering is kept, but moves nothing: it goes by how often an object is read.
"""

from __future__ import annotations

from tests.cloud.cloud import Cloud
from tests.cloud.objectstorage.archive import Archive
from tests.cloud.objectstorage.buckets import Buckets
from tests.cloud.objectstorage.copying import Copying
from tests.cloud.objectstorage.lifecycle import Lifecycle
from tests.cloud.objectstorage.listing import Listing
from tests.cloud.objectstorage.multipart import Multipart
from tests.cloud.objectstorage.objects import Objects
from tests.cloud.objectstorage.preauthenticated import Preauthenticated
from tests.cloud.objectstorage.store import Store
from tests.cloud.policies import Policies


class ObjectStorage:
    """The service.

    Attributes:
        store: what it keeps.
    """

    def __init__(self, cloud: Cloud, policies: Policies) -> None:
        self.store = Store(cloud)
        objects = Objects(self.store)
        multipart = Multipart(self.store, objects)
        listing = Listing(self.store)
        self._lifecycle = Lifecycle(self.store, objects, multipart, policies)
        Buckets(self.store, policies)
        Archive(self.store)
        Copying(self.store, objects)
        Preauthenticated(self.store, objects, listing)

    def run_lifecycle(self) -> list[str]:
        """Do what the lifecycle policies say is due by now; a line for each thing done."""
        return self._lifecycle.run()
