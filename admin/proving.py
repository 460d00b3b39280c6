"""The notary put together from DIR and its plug-ins."""

from admin.errors import AdminError
from admin.layout import Layout
from dc.channel import Channel
from dc.config import Config
from dc.names.api import Names
from dc.ports import Clock, Disk, Randomness
from dc.system import SystemDatabases
from notary.errors import NotaryError
from notary.hooks import Settings, make_hooks
from notary.service import Notary
from notary.store import open_store
from tokens.identity import Identity


def hook_settings(
    layout: Layout, config: Config, identity: Identity, clock: Clock, randomness: Randomness
) -> Settings:
    """What plug-ins are made with, but for their options."""
    return Settings(None, layout.notary, config.name, identity.dc_id, clock, randomness)


async def open_notary(
    settings: Settings,
    config: Config,
    identity: Identity,
    names: Names,
    disk: Disk,
    channel: Channel,
) -> Notary:
    """AdminError for plug-ins that cannot be made."""
    await disk.run(lambda: disk.make_dirs(settings.folder, 0o700))
    store = await open_store(settings.folder / "log.db", SystemDatabases())
    try:
        notary = Notary(
            names=names,
            store=store,
            identity=identity,
            name=config.name,
            channel=channel,
            clock=settings.clock,
            hooks=make_hooks(settings, config.notary.hooks),
        )
        await notary.open()
    except BaseException as error:
        await store.close()
        if isinstance(error, NotaryError):
            raise AdminError(str(error)) from None
        raise
    return notary
