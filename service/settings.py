"""Settings: one frozen, typed value, read once from ``dentgate.toml`` and the environment; the only reader of both.

Every key can be set as ``DENTGATE_<SECTION>__<KEY>``, which wins over the file. Unknown keys are errors.
"""

import json
import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Self
from urllib.parse import unquote, urlsplit

from pydantic import Field, StringConstraints, ValidationError, field_validator, model_validator

from service.destination_settings import DestinationSettings, Section
from service.domain.codes import EXAMINATIONS, Code, code_from
from service.domain.errors import ConfigurationError

__all__ = ["PREFIX", "DestinationSettings", "Settings", "load_settings"]

AeTitle = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=16, pattern=r"^[ -\[\]-~]+$")
]
PREFIX = "DENTGATE_"
_YES_OR_NO = {"true", "false", "1", "0", "yes", "no", "on", "off", "t", "f", "y", "n"}  # what pydantic reads as bool
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?(:[0-9]{1,5})?")


def _listed(value: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in value.split(",") if name.strip())


class DatabaseSettings(Section):
    """The record."""

    url: str = Field("sqlite:///dentgate.db", description="SQLAlchemy URL: sqlite:///FILE or postgresql+psycopg://...")


class BrokerSettings(Section):
    """Celery's broker, the doorbell."""

    url: str = Field("embedded", description="`embedded` starts a private server, or redis://host:port/db")


class StorageSettings(Section):
    """Where instances and results are kept."""

    url: str = Field("file:///var/lib/dentgate", description="file:///folder, or s3://bucket/prefix (extra `s3`)")
    reserve_mb: int = Field(
        512, ge=0, description="refuse new instances (A700H, HTTP 507) when less than this many MB is free"
    )
    keep_days: float = Field(
        0.0, ge=0, description="received images are removed so many days after all results are delivered; 0: never"
    )


class ListenerSettings(Section):
    """The DICOM application entity."""

    ae_title: AeTitle = Field("DENTGATE", description="our AE title")
    host: str = Field("127.0.0.1", description="address to listen on; 0.0.0.0 for the whole network")
    port: int = Field(11112, ge=0, le=65535, description="TCP port")
    quiet_seconds: float = Field(5.0, gt=0, description="a study is complete after this many seconds of silence")
    longest_wait_seconds: float = Field(
        3600.0, gt=0, description="a study that never falls silent is complete after this many seconds"
    )
    accept_any_calling_ae: bool = Field(default=True, description="false: only the `[[source]]` entries")
    check_called_ae: bool = Field(default=False, description="true: refuse associations that call another AE title")
    max_associations: int = Field(64, ge=1, description="more are rejected as transient, the sender tries again")
    max_waiting_studies: int = Field(
        0, ge=0, description="new studies are refused (A702H, HTTP 429) while so many wait for analysis; 0: any number"
    )
    max_pdu: int = Field(131072, ge=4096, le=1048576, description="maximum PDU length we receive, bytes")
    network_timeout: float = Field(60.0, gt=0, description="an association silent for this many seconds is aborted")
    max_object_mb: int = Field(2048, ge=1, description="a larger object is refused with A700H")
    recover_after_seconds: float = Field(
        120.0, ge=0, description="so long after a start stored images without a row are taken up, if they are as old"
    )


class WebSettings(Section):
    """The pages and the API."""

    host: str = Field("127.0.0.1", description="address of the pages and the API")
    port: int = Field(8080, ge=0, le=65535, description="TCP port of the pages and the API")
    public_hosts: tuple[str, ...] = Field(
        (),
        description="names under which browsers reach the pages through a reverse proxy, as name or name:port",
    )
    user_header: str = Field(
        "",
        pattern=r"^[A-Za-z0-9-]*$",
        description="header in which a trusted proxy names the user, for example X-Remote-User: only who is named may "
        "upload, retry, review and sign, and signs under that name; whoever gets past the proxy names themselves; "
        "empty: no users",
    )
    max_upload_mb: int = Field(256, ge=1, description="a larger upload is refused with HTTP 413")

    @field_validator("public_hosts", mode="before")
    @classmethod
    def _from_the_environment(cls, value: object) -> object:
        """As a variable of the environment: "a, b"."""
        return _listed(value) if isinstance(value, str) else value

    @field_validator("public_hosts")
    @classmethod
    def _names(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            if not _HOST.fullmatch(name):
                message = f"{name!r} is no name of a host; write dentgate.example.org or dentgate.example.org:8443"
                raise ValueError(message)
        return tuple(name.lower() for name in value)


class AnalysisSettings(Section):
    """Where and which models run."""

    device: str = Field("auto", pattern=r"^(auto|cpu|cuda(:\d+)?)$", description="auto, cpu, cuda or cuda:N")
    allow_research_models: bool | tuple[str, ...] = Field(
        default=False,
        description="true, or a list of their names: results of research models may be delivered to destinations",
    )
    studies_at_once: int = Field(
        0,
        ge=0,
        le=32,
        description="studies that an analysis process reads at once, so that their images go through a network "
        "together; 0: 4 on CUDA, 1 on a CPU",
    )
    bundles: str = Field(
        "bundles", description="folder with MONAI bundles of your own, each a model; with --data DIR it is DIR/bundles"
    )
    soft_limit_seconds: int = Field(240, ge=10, description="a stage that takes longer is stopped and tried again")
    lease_seconds: int = Field(45, ge=5, description="a stage whose worker died is taken up again after this time")
    stop_seconds: float = Field(
        8.0, gt=0, description="after SIGTERM a worker may finish for so long; what it still holds is given back"
    )
    recycle_after_tasks: int = Field(
        1000, ge=0, description="a worker process is replaced after so many tasks; 0: never"
    )
    recycle_above_mb: int = Field(
        0, ge=0, description="... or after a task that left it with more memory (resident, MB) than this; 0: never"
    )
    max_attempts: int = Field(
        600, ge=1, description="a delivery that failed this often (for three to six days) goes to the dead letters"
    )

    @field_validator("allow_research_models", mode="before")
    @classmethod
    def _names_from_the_environment(cls, value: object) -> object:
        """A list of names as a variable of the environment: "a, b"."""
        if not isinstance(value, str) or value.strip().lower() in _YES_OR_NO:
            return value
        return _listed(value)

    def allows_research(self, name: str) -> bool:
        """Whether results of the research model of that name may be delivered."""
        allowed = self.allow_research_models
        return allowed if isinstance(allowed, bool) else name in allowed


class ReportSettings(Section):
    """What reports say of the examination."""

    codes: dict[str, str] = Field(
        {},
        description="codes of your own for reports of panoramic, bitewing, periapical, cephalometric, photo, fracture, "
        'spine, other: `{ panoramic = "LN 24828-6 Panoramic" }`; LN, SCT, CDT or a URI',
    )

    @field_validator("codes", mode="before")
    @classmethod
    def _from_the_environment(cls, value: object) -> object:
        """A table as a variable of the environment: JSON."""
        return json.loads(value) if isinstance(value, str) else value

    @field_validator("codes")
    @classmethod
    def _known(cls, value: dict[str, str]) -> dict[str, str]:
        if unknown := set(value) - set(EXAMINATIONS):
            message = f"no kind of examination: {', '.join(sorted(unknown))}; there are {', '.join(EXAMINATIONS)}"
            raise ValueError(message)
        for text in value.values():
            code_from(text)
        return value

    def by_kind(self) -> dict[str, Code]:
        """Kind of examination -> code of its report."""
        return {kind: code_from(text) for kind, text in self.codes.items()}


class SourceSettings(Section):
    """A modality or PACS that may send."""

    ae_title: AeTitle = Field(description="AE title of a modality or PACS that may send")
    hosts: tuple[str, ...] = Field(
        (), description="addresses it may send from, also with accept_any_calling_ae; empty: any"
    )
    port: int = Field(
        0, ge=0, le=65535, description="where it hears storage commitment; 0: on the association on which it asked"
    )
    quiet_seconds: float = Field(
        0.0, ge=0, description="as listener.quiet_seconds, for studies of this sender; 0: that one"
    )
    complete_on_release: bool = Field(
        default=False,
        description="it sends each study in one association: what that brought is complete at its release, unless "
        "something was refused",
    )
    query_port: int = Field(
        0,
        ge=0,
        le=65535,
        description="where the first of its hosts answers C-FIND: a study that fell silent waits until as many images "
        "are here as it says it has, listener.longest_wait_seconds at most; for a sender that sends us all of a study; "
        "0: not asked",
    )
    silent_hours: float = Field(0.0, ge=0, description="alarm when it has sent nothing for so many hours; 0: never")

    @model_validator(mode="after")
    def _can_be_asked(self) -> Self:
        if self.query_port and (not self.hosts or "/" in self.hosts[0]):
            message = f"source {self.ae_title!r} has a query_port: the first of its hosts must be its address or name"
            raise ValueError(message)
        return self


class Settings(Section):
    """Everything that can be configured."""

    database: DatabaseSettings = DatabaseSettings()
    broker: BrokerSettings = BrokerSettings()
    storage: StorageSettings = StorageSettings()
    listener: ListenerSettings = ListenerSettings()
    web: WebSettings = WebSettings()
    analysis: AnalysisSettings = AnalysisSettings()
    report: ReportSettings = ReportSettings()
    source: tuple[SourceSettings, ...] = ()
    destination: tuple[DestinationSettings, ...] = ()

    @model_validator(mode="after")
    def _archives_may_call(self) -> Self:
        known = None if self.listener.accept_any_calling_ae else {source.ae_title for source in self.source}
        for entry in self.destination:
            if not entry.commitment:
                continue
            called_ae = unquote(urlsplit(entry.url).username or "").strip()
            if known is not None and called_ae not in known:
                message = (
                    f"destination {entry.name!r} reports on storage commitment to our listener, which lets it in only "
                    f"with a [[source]] entry: add ae_title = {called_ae!r}"
                )
                raise ValueError(message)
        return self

    @model_validator(mode="after")
    def _results_apart_from_storage(self) -> Self:
        """Whoever empties a folder of results must not delete what Dentgate keeps."""
        root = _folder(self.storage.url)
        for entry in self.destination:
            folder = _folder(entry.url)
            if root and folder and (folder.is_relative_to(root) or root.is_relative_to(folder)):
                message = (
                    f"destination {entry.name!r} writes to {folder}, and Dentgate keeps its own files in {root} "
                    "(storage.url): give it a folder apart from that, for example file:///srv/dentgate-results"
                )
                raise ValueError(message)
        return self

    @model_validator(mode="after")
    def _unique_destinations(self) -> Self:
        names = [destination.name for destination in self.destination]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            message = f"two destinations are called {', '.join(twice)}; give each a name of its own"
            raise ValueError(message)
        return self

    def with_broker(self, url: str) -> Self:
        """The same settings with another broker."""
        return self.model_copy(update={"broker": BrokerSettings(url=url)})


def _folder(url: str) -> Path | None:
    """The folder of a ``file://`` URL, None for any other."""
    parts = urlsplit(url)
    return Path(unquote(parts.path)).resolve() if parts.scheme == "file" and parts.path else None


def load_settings(
    path: Path | None = None, data: Path | None = None, environment: Mapping[str, str] | None = None
) -> Settings:
    """Read the settings.

    Args:
        path: a TOML file; None reads ``dentgate.toml`` of the working directory if it is there.
        data: a folder for everything Dentgate keeps; wins over other folders, but leaves PostgreSQL and S3 as they are.
        environment: the variables; None takes those of the process.

    Raises:
        ConfigurationError: one line that names the file, the key and what is wrong.
    """
    variables = os.environ if environment is None else environment
    source = path or Path("dentgate.toml")
    document = _read_toml(source) if path is not None or source.is_file() else {}
    _apply_environment(document, variables)
    if data is not None:
        _apply_data_folder(document, data.resolve())
    try:
        return Settings.model_validate(document)
    except ValidationError as error:
        raise ConfigurationError(_one_line(error, source)) from None


def _apply_data_folder(document: dict[str, Any], folder: Path) -> None:
    for section, url, local in (
        ("storage", folder.as_uri(), "file:"),
        ("database", f"sqlite:///{folder / 'dentgate.db'}", "sqlite:"),
    ):
        inner = document.setdefault(section, {})
        if isinstance(inner, dict) and str(inner.get("url", local)).startswith(local):
            inner["url"] = url
    analysis = document.setdefault("analysis", {})
    if isinstance(analysis, dict):
        analysis.setdefault("bundles", str(folder / "bundles"))


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        message = f"cannot read settings {path}: {error.strerror}; give an existing file to --config"
        raise ConfigurationError(message) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        message = f"settings {path} are not TOML: {error}; mend that line"
        raise ConfigurationError(message) from None


def _apply_environment(document: dict[str, Any], variables: Mapping[str, str]) -> None:
    for variable, value in sorted(variables.items()):
        if not variable.startswith(PREFIX) or "__" not in variable:
            continue
        section, key = variable.removeprefix(PREFIX).lower().split("__", 1)
        if section in {"source", "destination"}:
            message = f"{variable}: lists of sources and destinations are set in dentgate.toml only"
            raise ConfigurationError(message)
        inner = document.setdefault(section, {})
        if not isinstance(inner, dict):
            message = f"{variable}: there is no section [{section}]"
            raise ConfigurationError(message)
        inner[key] = value


def _one_line(error: ValidationError, source: Path) -> str:
    parts = []
    for problem in error.errors():
        key = ".".join(str(part) for part in problem["loc"]) or "settings"
        unknown = problem["type"] == "extra_forbidden"
        parts.append(f"{key}: {'unknown key, remove it or mend its spelling' if unknown else problem['msg']}")
    return f"settings ({source} or environment): " + "; ".join(parts)
