"""What we offer: Verification, storage commitment, procedure steps, and all storage in every transfer syntax."""

from collections.abc import Iterable, Sequence

from pynetdicom import ALL_TRANSFER_SYNTAXES, AllStoragePresentationContexts
from pynetdicom.pdu_primitives import SCP_SCU_RoleSelectionNegotiation
from pynetdicom.presentation import PresentationContext, build_context, negotiate_as_acceptor

from service.listener.commitment import PUSH_MODEL
from service.listener.commitment import TRANSFER_SYNTAXES as NORMALIZED_SYNTAXES
from service.listener.procedure_step import PROCEDURE_STEP

VERIFICATION = "1.2.840.10008.1.1"
TRANSFER_SYNTAXES: tuple[str, ...] = tuple(str(syntax) for syntax in ALL_TRANSFER_SYNTAXES)
STORAGE_CLASSES: tuple[str, ...] = tuple(str(context.abstract_syntax) for context in AllStoragePresentationContexts)
STORAGE = frozenset(STORAGE_CLASSES)

_SUPPORTED = [build_context(sop_class, list(TRANSFER_SYNTAXES)) for sop_class in (VERIFICATION, *STORAGE_CLASSES)]
_SUPPORTED += [build_context(sop_class, list(NORMALIZED_SYNTAXES)) for sop_class in (PUSH_MODEL, PROCEDURE_STEP)]
_KNOWN = frozenset(TRANSFER_SYNTAXES)


def negotiate(proposed: Sequence[PresentationContext]) -> list[PresentationContext]:
    """Answer each proposed context (PS3.8 9.3.3.2): accepted, abstract (3) or transfer syntax (4) not supported.

    Of several transfer syntaxes the sender's first one that we know is taken: it can be stored without any loss or work
    on its side, and every one suits us. Roles: see ``agreed_roles``.
    """
    for context in proposed:
        offered = [str(syntax) for syntax in context.transfer_syntax]
        normalized = context.abstract_syntax in {PUSH_MODEL, PROCEDURE_STEP}
        takes = NORMALIZED_SYNTAXES if normalized else _KNOWN
        known = next((syntax for syntax in offered if syntax in takes), offered[0])
        context.transfer_syntax = [known]
    results, _roles = negotiate_as_acceptor(list(proposed), _SUPPORTED)
    return results


def agreed_roles(proposed: Iterable[object]) -> list[SCP_SCU_RoleSelectionNegotiation]:
    """The answers to proposed roles (PS3.7 D.3.3.4): of storage commitment we take either, all else is sent to us.

    An archive that reports on a commitment that we asked for comes as SCP to us as SCU (PS3.4 J.3.3).
    """
    roles = [each for each in proposed if isinstance(each, SCP_SCU_RoleSelectionNegotiation)]
    return [role for role in roles if role.sop_class_uid == PUSH_MODEL]
