"""HTTP destinations: whom we trust, how we log in, and in which words trouble is told."""

import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from service.domain.errors import ConfigurationError, DentgateError, Permanent, Transient
from service.export.http import HttpServer
from service.export.tls import certificate_lives
from service.export.transport import Answer
from service.settings import DestinationSettings
from tests.builders import destination_of
from tests.certificates import Authority, Identity
from tests.http_peers import Reply, Request, reply, serving
from tests.servers import free_port


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Whom a site trusts."""
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def server_identity(authority: Authority) -> Identity:
    """A good certificate of 127.0.0.1."""
    return authority.issue("server")


def ask(entry: DestinationSettings, private: tuple[str, ...] = ()) -> Answer:
    """One request."""
    with HttpServer(entry, "stow").connect(private) as http:
        return http.send("GET", "/studies", headers={})


@contextmanager
def tls_server(context: ssl.SSLContext) -> Iterator[str]:
    """A server that is content with everybody who can talk to it; the value is a url of settings."""
    with serving(lambda _: Reply(), context) as url:
        yield f"stow+{url}"


# --- trust ------------------------------------------------------------------------------------------------------------


def test_authority_of_the_settings_is_trusted(authority: Authority, server_identity: Identity) -> None:
    """With the authority in ca_file the server's certificate is good, without it nothing is sent."""
    with tls_server(authority.server_context(server_identity)) as url:
        assert ask(destination_of(url, ca_file=str(authority.certificate))).status == 200
        with pytest.raises(Transient, match="not trusted: unable to get local issuer certificate; set ca_file to"):
            ask(destination_of(url))


def test_wrong_authority_is_told_with_its_mend(authority: Authority, server_identity: Identity, tmp_path: Path) -> None:
    """A certificate that another authority signed says that ca_file is to be mended."""
    other = Authority(tmp_path, "another")
    with (
        tls_server(authority.server_context(server_identity)) as url,
        pytest.raises(Transient, match=r"certificate is not trusted.*set ca_file"),
    ):
        ask(destination_of(url, ca_file=str(other.certificate)))


def test_expired_certificate_is_told_with_its_mend(authority: Authority) -> None:
    """An expired certificate is passing trouble, for its administrator will renew it, and so it is said."""
    with (
        tls_server(authority.server_context(authority.issue("expired", days=-2))) as url,
        pytest.raises(Transient, match="certificate has expired; its administrator must renew it"),
    ):
        ask(destination_of(url, ca_file=str(authority.certificate)))


def test_certificate_of_another_host_is_told_with_its_mend(authority: Authority) -> None:
    """A certificate of another address says that the url is to be mended."""
    with (
        tls_server(authority.server_context(authority.issue("elsewhere", host="192.0.2.1"))) as url,
        pytest.raises(Transient, match=r"mismatch.*write the host into the url as its certificate names it"),
    ):
        ask(destination_of(url, ca_file=str(authority.certificate)))


def test_mutual_tls(authority: Authority, server_identity: Identity, tmp_path: Path) -> None:
    """A server that asks for our certificate gets it; without one, or with a foreign one, the words name cert_file."""
    ours, foreign = authority.issue("ours"), Authority(tmp_path, "foreign").issue("stranger")
    trust = {"ca_file": str(authority.certificate)}
    with tls_server(authority.server_context(server_identity, asks_client=True)) as url:
        shown = {"cert_file": str(ours.certificate), "cert_key_file": str(ours.key)}
        assert ask(destination_of(url, **trust, **shown)).status == 200
        with pytest.raises(Transient, match="where it asks for a certificate, cert_file must be"):
            ask(destination_of(url, **trust))
        shown = {"cert_file": str(foreign.certificate), "cert_key_file": str(foreign.key)}
        with pytest.raises(Transient, match="where it asks for a certificate, cert_file must be"):
            ask(destination_of(url, **trust, **shown))


def test_renewed_files_need_no_restart(authority: Authority, server_identity: Identity, tmp_path: Path) -> None:
    """Trust is read for each connection: a server opened before the right authority was put there works after it."""
    ca_file = tmp_path / "ca.pem"
    ca_file.write_bytes(Authority(tmp_path / "old", "old").certificate.read_bytes())
    with tls_server(authority.server_context(server_identity)) as url:
        server = HttpServer(destination_of(url, ca_file=str(ca_file)), "stow")
        with server.connect() as http, pytest.raises(Transient, match="not trusted"):
            http.send("GET", "/", headers={})
        ca_file.write_bytes(authority.certificate.read_bytes())
        with server.connect() as http:
            assert http.send("GET", "/", headers={}).status == 200


def test_days_that_certificates_are_still_good_for(authority: Authority) -> None:
    """The site check says it of both certificates, asks for renewal within a month, and fails when ours ended."""
    ours = authority.issue("ours-soon", days=12.5)
    with tls_server(authority.server_context(authority.issue("fine", days=90.5), asks_client=True)) as url:
        trust = {"ca_file": str(authority.certificate)}
        entry = destination_of(url, **trust, cert_file=str(ours.certificate), cert_key_file=str(ours.key))
        assert certificate_lives(entry) == [
            "its certificate expires in 90 days",
            "our certificate expires in 12 days, renew it",
        ]
        ended = authority.issue("ours-ended", days=-3)
        entry = destination_of(url, **trust, cert_file=str(ended.certificate), cert_key_file=str(ended.key))
        with pytest.raises(
            Permanent, match=r"our certificate expired on \d{4}-\d\d-\d\d; put the new one into cert_file"
        ):
            certificate_lives(entry)
    with pytest.raises(Transient, match="no TLS connection"):
        certificate_lives(destination_of(f"stow+https://127.0.0.1:{free_port()}/"))
    assert certificate_lives(destination_of("stow+http://127.0.0.1/")) == []


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"ca_file": "missing"}, "ca_file .*missing: No such file"),
        ({"ca_file": "text"}, "holds no certificate in PEM form"),
        ({"cert_file": "missing", "cert_key_file": "key"}, "cert_file .*missing: No such file"),
        ({"cert_file": "certificate", "cert_key_file": "text"}, "are not a certificate and its private key"),
        ({"cert_file": "certificate", "cert_key_file": "other_key"}, "are not a certificate and its private key"),
    ],
)
def test_unusable_files_are_told_at_start(
    authority: Authority, tmp_path: Path, files: dict[str, str], words: str
) -> None:
    """A missing or wrong file of trust or identity ends the start with one line that names it."""
    ours, other = authority.issue("files-ours"), authority.issue("files-other")
    text = tmp_path / "text"
    text.write_text("nothing of that kind")
    places = {"certificate": ours.certificate, "key": ours.key, "other_key": other.key, "text": text}
    keys = {key: str(places.get(name, tmp_path / name)) for key, name in files.items()}
    with pytest.raises(ConfigurationError, match=words):
        HttpServer(destination_of("stow+https://127.0.0.1/", **keys), "stow")


# --- login ------------------------------------------------------------------------------------------------------------


def secret_file(folder: Path, text: str) -> str:
    """A file with a secret."""
    path = folder / "secret"
    path.write_text(text, encoding="utf-8")
    return str(path)


@contextmanager
def guarded(login: str) -> Iterator[str]:
    """A server that admits this Authorization header; the value is a url of settings."""
    with serving(lambda request: reply([]) if request.headers["Authorization"] == login else Reply(401)) as url:
        yield f"stow+{url}"


def test_basic(tmp_path: Path) -> None:
    """Name and password go as RFC 7617 says, in UTF-8; the line end of the file is no part of the password."""
    login = {"auth": "basic", "username": "Aladdin", "password_file": secret_file(tmp_path, "open sesame\n")}
    with guarded("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==") as url:  # the example of RFC 7617
        assert ask(destination_of(url, **login)).status == 200
    login = {"auth": "basic", "username": "test", "password_file": secret_file(tmp_path, "123£\r\n")}
    with guarded("Basic dGVzdDoxMjPCow==") as url:  # the other
        assert ask(destination_of(url, **login)).status == 200


def test_bearer_takes_a_new_token_once(tmp_path: Path) -> None:
    """A token that came into the file while the old one was refused is tried once; the same one is not shown twice."""
    path, shown = secret_file(tmp_path, "old"), list[str | None]()

    def script(request: Request) -> Reply:
        shown.append(request.headers["Authorization"])
        if len(shown) == 2:
            secret_file(tmp_path, "new")
        return reply([]) if shown[-1] == "Bearer new" else Reply(401)

    with serving(script) as url:
        server = HttpServer(destination_of(f"stow+{url}", auth="bearer", token_file=path), "stow")
        with server.connect() as http:
            assert http.send("GET", "/", headers={}).status == 401
            assert shown == ["Bearer old"]
            assert http.send("GET", "/", headers={}).status == 200
    assert shown == ["Bearer old", "Bearer old", "Bearer new"]


@pytest.mark.parametrize("text", ["", "\n", "two\nlines", "caf\u00e9", "bell\a"])
def test_a_file_that_holds_no_secret_is_told_at_start(tmp_path: Path, text: str) -> None:
    """An empty file, several lines or control characters end the start, and the words do not show what is in it."""
    path = secret_file(tmp_path, text)
    with pytest.raises(ConfigurationError, match="must hold one line, the secret alone") as raised:
        HttpServer(destination_of("stow+http://h/", auth="bearer", token_file=path), "stow")
    assert not text.strip() or text not in str(raised.value)
    with pytest.raises(ConfigurationError, match=r"token_file .*gone: No such file"):
        HttpServer(destination_of("stow+http://h/", auth="bearer", token_file=str(tmp_path / "gone")), "stow")


@pytest.mark.parametrize(
    ("status", "kind", "words"),
    [
        (401, Permanent, "does not accept our login: mend auth"),
        (403, Permanent, "its administrator must grant the right"),
        (301, Permanent, "write its new address into the url"),
        (404, Permanent, "HTTP 404"),
        (429, Transient, "HTTP 429"),
        (503, Transient, "HTTP 503"),
    ],
)
def test_refusals_say_what_to_do(tmp_path: Path, status: int, kind: type[DentgateError], words: str) -> None:
    """401 and 403 are for a person and say so; neither secret nor patient data is repeated."""
    login = {"auth": "bearer", "token_file": secret_file(tmp_path, "s3cret-token")}
    answer = reply({"detail": "s3cret-token of DOE^JANE"}, status, Retry_After="7")
    with (
        serving(lambda _: answer) as url,
        HttpServer(destination_of(f"stow+{url}", **login), "stow").connect(["DOE^JANE"]) as http,
    ):
        got = http.send("GET", "/", headers={})
        error = http.failure("GET /", got.status, str(got.json()), got.retry_after)
    assert isinstance(error, kind)
    assert words in str(error)
    assert "s3cret" not in str(error)
    assert "JANE" not in str(error)
    assert getattr(error, "retry_after", 7.0) == 7.0


def test_secrets_are_in_no_repr(tmp_path: Path) -> None:
    """What is logged by mistake shows no secret."""
    login = {"auth": "basic", "username": "a", "password_file": secret_file(tmp_path, "s3cret")}
    entry = destination_of("stow+http://127.0.0.1/", **login)
    server = HttpServer(entry, "stow")
    assert "s3cret" not in repr(entry) + repr(server) + repr(vars(server))


def test_many_threads_share_a_server(authority: Authority, server_identity: Identity) -> None:
    """One object serves all threads of a process."""
    statuses = []
    with tls_server(authority.server_context(server_identity)) as url:
        server = HttpServer(destination_of(url, ca_file=str(authority.certificate)), "stow")

        def work() -> None:
            with server.connect() as http:
                statuses.append(http.send("GET", "/", headers={}).status)

        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert statuses == [200] * 8


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("stow+http://", "write the url as stow"),
        ("stow+https://h:99999/", "write the url as stow"),
        ("stow+https://h/?x=1", "write the url as stow"),
        ("stow+https://me:secret@h/", "take the login out of the url"),
    ],
)
def test_wrong_urls(url: str, words: str) -> None:
    """A url without host, with a wrong port, a parameter or a login in it is a wrong setting, and is not repeated."""
    with pytest.raises(ConfigurationError, match=words) as raised:
        HttpServer(destination_of(url), "stow")
    assert "secret" not in str(raised.value)
