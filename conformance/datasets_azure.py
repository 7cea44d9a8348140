"""Jobs on rows that lie in Azure Blob Storage: the service is azurite; the jobs are whole ones of a real server on a tiny
base.

The service that gives tokens for managed identities is a small one of this file: azurite has none. It gives what Azure
gives, but for the signature, which azurite does not check; azurite looks at who gave a token, for whom, and until when,
and gives whoever has one the right to everything. So what is not covered is that Azure itself takes such a token, and that
an identity has the right to one container and not to another."""

import base64
import datetime
import ipaddress
import json
import os
import secrets
import ssl
import subprocess
import time
import urllib.parse

from azure.storage.blob import BlobServiceClient, ContainerSasPermissions, generate_container_sas
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from harness import ROOT, Server, colour_rows, free_port, scratch
from storage import (RANGE, Fetcher, Jobs, Proxy, client_tls, error_of, install_base, must_be_nowhere, rows_text,
                     wait_for_port)

AZURITE = ROOT / "target/azurite/node_modules/azurite/dist/src/blob/main.js"
ACCOUNT, CONTAINER = "hearthrows", "team-rows"
URL = f"https://{ACCOUNT}.blob.core.windows.net/{CONTAINER}"
CLIENT, TENANT = "11111111-2222-3333-4444-555555555555", "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee"
STRANGER = "99999999-2222-3333-4444-555555555555"
TOKEN = "eyJhbGciOiJub25lIn0.hush-azure-identity.x"
# The key of the account, 64 random bytes.
KEY = base64.b64encode(secrets.token_bytes(64)).decode()


def authority(folder):
    """A certificate for this machine that is its own authority, as files."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "hearth test")])
    now = datetime.datetime.now(datetime.UTC)
    names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])

    def built(subject, public, is_authority):
        builder = (x509.CertificateBuilder().subject_name(subject).issuer_name(name).public_key(public)
                   .serial_number(x509.random_serial_number()).not_valid_before(now - datetime.timedelta(days=1))
                   .not_valid_after(now + datetime.timedelta(days=1))
                   .add_extension(x509.BasicConstraints(is_authority, None), critical=True))
        if not is_authority:
            builder = builder.add_extension(names, critical=False)
        return builder.sign(key, hashes.SHA256())

    own = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    pem = serialization.Encoding.PEM
    (folder / "ca.pem").write_bytes(built(name, key.public_key(), True).public_bytes(pem))
    (folder / "cert.pem").write_bytes(built(subject, own.public_key(), False).public_bytes(pem))
    (folder / "key.pem").write_bytes(own.private_bytes(
        pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))


class Azure:
    """azurite with a container, behind a proxy, and what gives tokens; all over TLS."""

    def __init__(self, folder):
        authority(folder)
        self.port = free_port()
        self.log = folder / "azurite.log"
        environment = os.environ | {"AZURITE_ACCOUNTS": f"{ACCOUNT}:{KEY}"}
        self.process = subprocess.Popen(
            ["node", AZURITE, "--blobHost", "127.0.0.1", "--blobPort", str(self.port), "--location", folder / "azurite",
             "--oauth", "basic", "--cert", folder / "cert.pem", "--key", folder / "key.pem", "--disableTelemetry"],
            stdout=open(self.log, "wb"), stderr=subprocess.STDOUT, env=environment, cwd=folder)
        wait_for_port(self.port, self.process, self.log)
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(folder / "cert.pem", folder / "key.pem")
        self.proxy = Proxy(self.port, client_tls(folder / "ca.pem"), tls)
        self.identities = Proxy(0, None, tls)
        self.identities.answer = self.token
        self.asked = []
        self.service = BlobServiceClient(f"https://127.0.0.1:{self.port}/{ACCOUNT}", credential=KEY,
                                         connection_verify=str(folder / "ca.pem"), api_version="2023-11-03")
        self.service.create_container(CONTAINER)

    def put(self, name, body):
        self.service.get_blob_client(CONTAINER, name).upload_blob(body, overwrite=True)

    def sas(self):
        now = datetime.datetime.now(datetime.UTC)
        return generate_container_sas(ACCOUNT, CONTAINER, account_key=KEY, expiry=now + datetime.timedelta(hours=1),
                                      permission=ContainerSasPermissions(read=True, list=True))

    def token(self, handler, body):
        form = dict(urllib.parse.parse_qsl(body.decode()))
        self.asked.append((handler.path, form.get("client_id"), form.get("scope")))
        if form.get("client_assertion") != TOKEN or form["client_id"] != CLIENT:
            status, reply = 400, {"error": "invalid_client", "error_description": f"no {form['client_assertion']}"}
        else:
            now = int(time.time())
            claims = {"aud": "https://storage.azure.com", "iss": f"https://sts.windows.net/{TENANT}/", "nbf": now - 60,
                      "iat": now - 60, "exp": now + 3600, "oid": CLIENT, "tid": TENANT, "ver": "1.0"}
            parts = [{"alg": "RS256", "typ": "JWT"}, claims, {"hush": "signature"}]
            coded = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in parts]
            status, reply = 200, {"token_type": "Bearer", "expires_in": 3599, "access_token": ".".join(coded)}
        text = json.dumps(reply).encode()
        handler.send_response(status)
        handler.send_header("content-type", "application/json")
        handler.send_header("content-length", str(len(text)))
        handler.end_headers()
        handler.wfile.write(text)
        return True


def by_secret(name):
    return {"azureBlobStorageConfig": {"credentialsSecret": f"accounts/default/secrets/{name}"}}


def by_identity(client):
    return {"azureBlobStorageConfig": {"managedIdentityClientId": client, "tenantId": TENANT}}


def whole_jobs(azure, jobs, folder, rows):
    """By each kind of secret and by an identity; training and evaluation rows."""
    sas = azure.sas()
    string = f"DefaultEndpointsProtocol=https;AccountName={ACCOUNT};AccountKey={KEY};EndpointSuffix=core.windows.net"
    jobs.secret("string", {"connection_string": string})
    jobs.secret("sas", {"sas_token": sas})
    jobs.secret("key", KEY)
    jobs.dataset("folder", f"{URL}/train/")
    jobs.dataset("eval", f"abfss://{CONTAINER}@{ACCOUNT}.dfs.core.windows.net/eval%20rows.jsonl".replace("%20", " "))
    azure.proxy.hold_at("b.jsonl")
    jobs.create("by-string", "folder", evaluationDataset="eval", **by_secret("string"))
    assert azure.proxy.held.wait(60)
    assert jobs.state("by-string") == "CREATING_INPUT_DATASET"
    # azurite is given the key by its environment.
    must_be_nowhere([KEY, sas, TOKEN], folder / "data", but=[azure.process.pid])
    azure.proxy.go.set()
    jobs.completed("by-string")
    azure.proxy.calm()
    train = b"".join(rows[name] for name in sorted(rows) if name.startswith("train/"))
    assert jobs.rows("by-string") == train and jobs.rows("by-string", "eval") == rows["eval rows.jsonl"]
    for name, access in (("by-sas", by_secret("sas")), ("by-key", by_secret("key")), ("by-identity", by_identity(CLIENT))):
        job = jobs.create(name, "folder", **access)
        assert {key: value for key, value in job["azureBlobStorageConfig"].items() if value} \
            == access["azureBlobStorageConfig"], job
        jobs.completed(name)
        assert jobs.rows(name) == train, name
    assert azure.asked == [(f"/{TENANT}/oauth2/v2.0/token", CLIENT, "https://storage.azure.com/.default")], azure.asked
    return sas


def failures(azure, jobs):
    jobs.secret("wrong", base64.b64encode(b"hush" * 16).decode())
    jobs.create("wrong-key", "folder", **by_secret("wrong"))
    jobs.failed("wrong-key", "PERMISSION_DENIED", URL, "this account key")
    jobs.dataset("missing", f"{URL}/none.jsonl")
    jobs.create("missing", "missing", **by_secret("key"))
    jobs.failed("missing", "NOT_FOUND", f"{URL}/none.jsonl")
    jobs.create("public", "folder")
    assert jobs.ended("public")["state"] == "JOB_STATE_FAILED"
    jobs.create("stranger", "folder", **by_identity(STRANGER))
    job = jobs.failed("stranger", "PERMISSION_DENIED", STRANGER, "invalid_client")
    assert TOKEN not in json.dumps(job), job
    other = "DefaultEndpointsProtocol=https;AccountName=somebody;AccountKey=aHVzaA=="
    jobs.secret("other", {"connection_string": other})
    code, message = error_of(lambda: jobs.create("other", "folder", **by_secret("other")))
    assert code == 9 and "another account" in message and "aHVzaA" not in message, message


def changed(azure, jobs, large):
    jobs.dataset("large", f"{URL}/large.jsonl")
    azure.proxy.hold_at("large.jsonl", RANGE)
    jobs.create("changed", "large", **by_secret("key"))
    assert azure.proxy.held.wait(60)
    azure.put("large.jsonl", large[:-1] + b" \n")
    azure.proxy.go.set()
    jobs.failed("changed", "ABORTED", f"{URL}/large.jsonl")
    azure.proxy.calm()
    azure.put("large.jsonl", large)


def trouble(azure, folder, large):
    """The process alone: one request in three fails, the service is away for some seconds, and it is killed in the middle."""
    place = {"service": "azure", "account": ACCOUNT, "container": CONTAINER, "path": "large.jsonl"}
    request = {"parts": [{"name": "train", "location": place}], "aws": {"kind": "public"},
               "azure": {"kind": "account_key", "key": KEY},
               "services": {"s3": None, "sts": None, "azure": azure.proxy.url, "azure_identity": None,
                            "ca_file": str(folder / "ca.pem")}}
    fetcher = Fetcher(folder / "trouble", request)
    azure.proxy.fail_every = 3
    azure.proxy.hold_at("large.jsonl", RANGE)
    fetcher.start()
    assert azure.proxy.held.wait(60)
    fetcher.kill()
    azure.proxy.down_until = time.monotonic() + 3
    azure.proxy.go.set()
    azure.proxy.seen.clear()
    assert fetcher.start().finish() == large
    firsts = [first for _, _, first, _ in azure.proxy.seen if first is not None]
    assert min(firsts) >= RANGE, firsts
    azure.proxy.calm()


def main():
    with scratch() as folder:
        azure = Azure(folder)
        try:
            rows = {"train/a.jsonl": rows_text(colour_rows(12)), "train/b.jsonl": rows_text(colour_rows(12, 1)),
                    "train/deep/c d.jsonl": rows_text(colour_rows(8, 2)), "eval rows.jsonl": rows_text(colour_rows(8, 3))}
            large = rows_text(colour_rows(8)) * 9_000
            assert len(large) > RANGE
            for name, body in {**rows, "large.jsonl": large, "train/README.txt": b"none of it"}.items():
                azure.put(name, body)
            install_base(folder)
            token = folder / "token"
            token.write_text(TOKEN)
            server = Server(folder / "data", "--azure-endpoint", azure.proxy.url, "--azure-identity-endpoint",
                            azure.identities.url, "--azure-identity-token-file", token, "--storage-ca-file",
                            folder / "ca.pem", base=False)
            jobs = Jobs(server.start())
            try:
                sas = whole_jobs(azure, jobs, folder, rows)
                failures(azure, jobs)
                changed(azure, jobs, large)
                assert not jobs.fetching()
                must_be_nowhere([KEY, sas, TOKEN], folder / "data", but=[azure.process.pid])
            finally:
                server.stop()
            trouble(azure, folder, large)
        finally:
            azure.process.kill()
    print("datasets_azure: jobs trained on rows in Azure by key, connection string, SAS and managed identity")


if __name__ == "__main__":
    main()
