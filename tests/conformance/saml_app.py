"""Apache with mod_auth_mellon: an application that has its users sign in by SAML 2.0, and knows its public name."""

import os
import pathlib
import shutil
import subprocess
import urllib.request

from fabric import Process, free_port, listens

CONFIGURATION = """
ServerRoot {folder}
PidFile {folder}/pid
Listen 127.0.0.1:{port}
# What users call it: what it asks the provider for, and what it holds answers against.
ServerName https://{public}
UseCanonicalName On
{user}
LoadModule mpm_event_module {modules}/mod_mpm_event.so
LoadModule authn_core_module {modules}/mod_authn_core.so
LoadModule authz_core_module {modules}/mod_authz_core.so
LoadModule authz_user_module {modules}/mod_authz_user.so
LoadModule mime_module {modules}/mod_mime.so
LoadModule include_module {modules}/mod_include.so
LoadModule auth_mellon_module {modules}/mod_auth_mellon.so
Mutex file:{folder} default
TypesConfig /dev/null
AddType text/html .html
AddOutputFilter INCLUDES .html
ErrorLog {folder}/error.log
LogFormat "%r %s %{{Content-Length}}i" seen
CustomLog {folder}/seen.log seen
DocumentRoot {folder}/www
MellonLockFile {folder}/mellon.lock
<Directory {folder}/www>
    Options +Includes
</Directory>
<Location />
    AuthType Mellon
    MellonEnable auth
    MellonSPPrivateKeyFile {folder}/sp.key
    MellonSPCertFile {folder}/sp.crt
    MellonIdPMetadataFile {metadata}
    MellonEndpointPath /mellon
    MellonUser NAME_ID
    MellonSecureCookie On
    {same_site}
    Require valid-user
</Location>
"""


class SamlApp:
    """A running server, published as `public`, that believes the provider of this metadata."""

    def __init__(self, folder: pathlib.Path, public: str, metadata: pathlib.Path, same_site: str = ""):
        self.folder, self.port, self.public = folder, free_port(), public
        (folder / "www/deep").mkdir(parents=True)
        for page in ("www/index.html", "www/deep/link.html"):
            (folder / page).write_text('<!doctype html><title>app</title><h1><!--#echo var="REMOTE_USER" --></h1>')
        subject = ["-subj", "/CN=sp", "-keyout", folder / "sp.key", "-out", folder / "sp.crt"]
        subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *subject], check=True, capture_output=True)
        shutil.copy(metadata, folder / "idp.xml")
        user = ""
        if os.geteuid() == 0:
            user = "User www-data\nGroup www-data"
            for path in [folder, *folder.rglob("*")]:
                shutil.chown(path, "www-data", "www-data")
        folder.chmod(0o755)
        configuration = folder / "apache.conf"
        settings = dict(folder=folder, port=self.port, public=public, user=user, modules="/usr/lib/apache2/modules")
        configuration.write_text(CONFIGURATION.format(**settings, metadata=folder / "idp.xml", same_site=same_site))
        self.process = Process("apache", folder, ["apache2", "-f", str(configuration), "-D", "FOREGROUND"])
        self.process.until("listens", lambda: listens(self.port))
        self.url = f"http://127.0.0.1:{self.port}"

    def metadata(self) -> str:
        """What it says of itself."""
        with urllib.request.urlopen(f"{self.url}/mellon/metadata", timeout=10) as answer:
            return answer.read().decode()

    def seen(self) -> str:
        return (self.folder / "seen.log").read_text()

    def stop(self):
        self.process.stop()
