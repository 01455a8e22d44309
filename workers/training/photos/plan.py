"""How the networks of the photograph model are trained: strong changes of little data, several networks averaged."""

from service.domain.errors import ConfigurationError
from workers.models.photo_view import BORDER
from workers.training.images.members import members_of
from workers.training.images.plan import Augmentation, Plan
from workers.training.settings import with_settings
from workers.training.task import Training

NETWORK = "workers.networks.photo_net.PhotoNet"
SIZE = (128, 192)
DEVIATION = 0.25
SMOOTHING = 0.1
MEMBERS = 3
#: Another camera, another room, another hand: the source of a picture must not decide.
CHANGES = Augmentation(
    rotation=20.0,
    zoom=0.5,
    stretch=0.2,
    shift=0.08,
    contrast=0.3,
    gamma=0.25,
    brightness=0.08,
    colour=0.12,
    blur=0.3,
    noise=0.03,
    erasing=0.5,
    erased=0.3,
)


def plan_of(order: Training, classes: tuple[str, ...], member: int) -> Plan:
    """The plan of one network; they differ in everything random. Raises ConfigurationError."""
    if order.backbone not in {"", NETWORK.rpartition(".")[2]}:
        message = f"photographs are read by PhotoNet only, not by {order.backbone}; leave the backbone out"
        raise ConfigurationError(message)
    plan = Plan(
        classes=classes,
        network={"_target_": NETWORK},
        minutes=order.minutes / members_of(order.settings, MEMBERS),
        size=SIZE,
        channels=3,
        mean=BORDER,
        deviation=(DEVIATION,) * 3,
        weight_decay=0.05,
        smoothing=SMOOTHING,
        balance=0.5,
        mixup=0.3,
        cutmix=0.4,
        growing=0.5,
        contest=0.5,
        averaging=0.998,
        seed=1000 * order.seed + member,
        threads=order.threads,
        device=order.device,
        augmentation=CHANGES,
    )
    own = {key: value for key, value in order.settings.items() if key != "members"}
    return with_settings(plan, own, "photos")
