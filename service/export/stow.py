"""STOW-RS (PS3.18 10.5): DICOM results to an archive by HTTP, one request for a delivery."""

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import pydicom
from pydicom.errors import InvalidDicomError

from service import clock
from service.domain.errors import Permanent, Transient
from service.domain.result import DICOM_RESULTS, Delivery, Result
from service.domain.sent import ObjectAnswer
from service.export.http import HttpConnection, HttpServer
from service.export.store_status import DUPLICATE, PROCESSING_FAILURE, SUCCESS, is_warning, summary
from service.export.transport import Answer
from service.settings import DestinationSettings

_JSON = "application/dicom+json"
_CHUNK = 1 << 18
_PATIENCE_SECONDS = 120.0  # an archive that indexes while it receives answers late
_NOT_FOUND, _CONFLICT, _TOO_LARGE = 404, 409, 413
_NO_SEARCHES = {405, 501}
#: Statuses whose body says what became of each object: all, some, none stored (PS3.18 table 10.5.3-1).
_ACCOUNTS = {200, 202, 400, 409}
_RESOURCE_LIMIT = 0x0213  # PS3.7 C.5.20
_NOT_UNDERSTOOD = 0xC000  # PS3.18 table I.2-2
_THERE_ALREADY = {DUPLICATE, 0xB00E}  # the second in archives that keep the first version of an object
_BEING_STORED = 0xB00F  # ... and this while another request stores it
# The Store Instances Response Module (PS3.18 Annex I) in the DICOM JSON Model (Annex F).
_STORED, _FAILED, _OTHERS = "00081199", "00081198", "0008119A"
_INSTANCE, _REASON, _WARNING = "00081155", "00081197", "00081196"
_PRIVATE = ("PatientID", "PatientName", "PatientBirthDate", "AccessionNumber")


class Stow:
    """An archive that takes STOW-RS. Sending an object twice is harmless: its UID is derived from the job."""

    takes: tuple[str, ...] = DICOM_RESULTS
    default_results: tuple[str, ...] = ("sr", "seg-plane", "secondary-capture")  # as by C-STORE

    def __init__(self, entry: DestinationSettings, calling_ae: str) -> None:
        """Take address and login from the settings; nothing is opened yet.

        Args:
            entry: its url is ``stow+http(s)://host[:port]/base``, below which the archive has ``/studies``.
            calling_ae: not used, DICOMweb knows no AE titles.

        Raises:
            ConfigurationError: no host, a wrong port, or an unusable file.
        """
        del calling_ae
        self._server = HttpServer(entry, "stow")

    def deliver(self, delivery: Delivery) -> str:
        """See Destination. All objects are tried before a refusal is raised."""
        objects = [_read(result) for result in delivery.results]
        if not objects:
            return "nothing to store"
        answers = list[ObjectAnswer]()
        with self._server.connect(sorted({word for each in objects for word in each.private})) as http:
            for batch in _stored(http, objects):
                for answer in batch:
                    delivery.note(answer)
                    answers.append(answer)
        silent = len(objects) - len(answers)
        line = summary(self._server.base, answers)
        if silent:
            message = f"{line}; not a word on {silent} other objects"
            raise Transient(message)
        return line

    def check(self) -> str:
        """See Destination: searches for a study that nobody has (QIDO-RS); an archive need not answer searches."""
        with self._server.connect() as http:
            query = {"StudyInstanceUID": clock.fresh_uid(), "limit": "1"}
            answer = http.send("GET", "/studies", headers={"Accept": _JSON}, params=query)
            if answer.status in _NO_SEARCHES:
                return f"{http.base} answers, but no searches (HTTP {answer.status}); a delivery will show the rest"
            if not answer.is_success:
                what = "GET /studies (is the base right?)" if answer.status == _NOT_FOUND else "GET /studies"
                raise http.failure(what, answer.status, _words(answer), answer.retry_after)
        if answer.body and answer.json() != []:  # nobody has that study
            message = (
                f"{self._server.base} answers a search, but not as DICOMweb does; is it the base, without /studies?"
            )
            raise Permanent(message)
        return f"{self._server.base} answers searches"


@dataclass(frozen=True, slots=True)
class _Object:
    """A result with its UIDs, and what the archive may repeat of it and nobody may read in a message."""

    kind: str
    sop_class_uid: str
    sop_instance_uid: str
    private: tuple[str, ...]
    content: bytes

    def answer(self, status: int, comment: str = "", *, stored: bool) -> ObjectAnswer:
        """What was said to it."""
        return ObjectAnswer(self.kind, self.sop_class_uid, self.sop_instance_uid, status, stored, comment)


def _read(result: Result) -> _Object:
    if result.media_type != "application/dicom":
        message = f"a PACS takes no {result.kind}; take it out of `results` of this destination"
        raise Permanent(message)
    try:
        ds = pydicom.dcmread(io.BytesIO(result.content), specific_tags=["SOPClassUID", "SOPInstanceUID", *_PRIVATE])
        words = tuple(str(ds.get(keyword) or "") for keyword in _PRIVATE)
        parts = tuple(part for word in words for part in (word, *word.split("^")) if part)
        return _Object(result.kind, str(ds.SOPClassUID), str(ds.SOPInstanceUID), parts, result.content)
    except (InvalidDicomError, AttributeError) as error:
        message = f"the stored {result.kind} is no DICOM object any more; make the report again"
        raise Permanent(message) from error


def _stored(http: HttpConnection, objects: Sequence[_Object]) -> Iterator[list[ObjectAnswer]]:
    """Send in one request, in halves where the archive finds that too large; what it said to each."""
    boundary = clock.token()
    headers = {
        "Content-Type": f'multipart/related; type="application/dicom"; boundary={boundary}',
        "Content-Length": str(sum(map(len, _parts(objects, boundary)))),
        "Accept": _JSON,
    }
    answer = http.send(
        "POST", "/studies", headers=headers, content=partial(_parts, objects, boundary), patience=_PATIENCE_SECONDS
    )
    if answer.status != _TOO_LARGE:
        yield _account(http, answer, objects)
    elif len(objects) == 1:
        size = f"HTTP 413: {len(objects[0].content) / 1e6:.1f} MB are more than the server takes; raise its limit"
        yield [objects[0].answer(_RESOURCE_LIMIT, size, stored=False)]
    else:
        middle = len(objects) // 2
        yield from _stored(http, objects[:middle])
        yield from _stored(http, objects[middle:])


def _parts(objects: Sequence[_Object], boundary: str) -> Iterator[bytes]:
    """The body (RFC 2387) in pieces, so that no second copy of it is ever whole in memory."""
    for each in objects:
        yield f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode()
        for start in range(0, len(each.content), _CHUNK):
            yield each.content[start : start + _CHUNK]
        yield b"\r\n"
    yield f"--{boundary}--\r\n".encode()


def _account(http: HttpConnection, answer: Answer, objects: Sequence[_Object]) -> list[ObjectAnswer]:
    """What the archive said to each object; objects of which it says nothing are left out."""
    module = _module(answer) if answer.status in _ACCOUNTS else None
    if module is None:
        if answer.status == _CONFLICT:  # never passing here: nothing is compared with an earlier version
            words = http.masked(_words(answer)) or "without a word on what is in conflict"
            message = f"POST /studies: HTTP 409 {words}"
            raise Permanent(message)
        if not answer.is_success:
            raise http.failure("POST /studies", answer.status, _words(answer), answer.retry_after)
        message = (
            f"POST /studies: HTTP {answer.status} with {answer.media_type or 'no body'} instead of {_JSON}: "
            "it does not say what became of each object"
        )
        raise Permanent(message)
    stored, failed = _by_instance(module, _STORED), _by_instance(module, _FAILED)
    others = [_number(item, _REASON) for item in _items(module, _OTHERS)]
    answers = []
    for each in objects:
        if each.sop_instance_uid in failed:
            answers.append(_refused(each, _number(failed[each.sop_instance_uid], _REASON)))
        elif each.sop_instance_uid in stored:
            answers.append(each.answer(_warned(_number(stored[each.sop_instance_uid], _WARNING)), stored=True))
        elif others:
            answers.append(_refused(each, others[0]))
        elif not answer.is_success:
            answers.append(each.answer(_NOT_UNDERSTOOD, f"HTTP {answer.status}", stored=False))
    return answers


def _refused(each: _Object, reason: int) -> ObjectAnswer:
    if reason in _THERE_ALREADY:
        return each.answer(DUPLICATE, stored=True)
    if reason == _BEING_STORED:
        return each.answer(PROCESSING_FAILURE, "another request is storing it", stored=False)
    return each.answer(reason or PROCESSING_FAILURE, stored=False)


def _warned(reason: int) -> int:
    """A Warning Reason outside its family is no success either way; the object is stored."""
    return reason if is_warning(reason) else SUCCESS if not reason else 0xB000


def _module(answer: Answer) -> Mapping[str, Any] | None:
    content = answer.json()
    if isinstance(content, list) and len(content) == 1:  # as the answer to a search would be
        content = content[0]
    return content if isinstance(content, dict) and {_STORED, _FAILED, _OTHERS} & set(content) else None


def _items(module: Mapping[str, Any], sequence: str) -> list[Mapping[str, Any]]:
    element = module.get(sequence)
    values = element.get("Value") if isinstance(element, dict) else None
    return [item for item in values if isinstance(item, dict)] if isinstance(values, list) else []


def _by_instance(module: Mapping[str, Any], sequence: str) -> dict[str, Mapping[str, Any]]:
    return {str(_value(item, _INSTANCE)): item for item in _items(module, sequence)}


def _number(item: Mapping[str, Any], tag: str) -> int:
    value = _value(item, tag)
    try:
        return int(value) if isinstance(value, int | float | str) else 0
    except (ValueError, OverflowError):
        return 0


def _value(item: Mapping[str, Any], tag: str) -> object:
    element = item.get(tag)
    values = element.get("Value") if isinstance(element, dict) else None
    return values[0] if isinstance(values, list) and values else None


def _words(answer: Answer) -> str:
    """What a server says of a refusal, where it is meant for reading."""
    content = answer.json()
    if isinstance(content, dict):
        keys = ("Message", "Details", "message", "error", "title", "detail")
        return " ".join(str(content[key]) for key in keys if isinstance(content.get(key), str))
    return answer.body[:1000].decode("utf-8", "replace") if answer.media_type == "text/plain" else ""
