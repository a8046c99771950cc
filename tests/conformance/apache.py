"""Apache with mod_dav over a folder."""

import os
import pathlib
import shutil

from fabric import Process, free_port, listens

CONFIGURATION = """
ServerRoot {folder}
PidFile {folder}/pid
Listen 127.0.0.1:{port}
ServerName localhost
{user}
LoadModule mpm_event_module {modules}/mod_mpm_event.so
LoadModule authz_core_module {modules}/mod_authz_core.so
LoadModule mime_module {modules}/mod_mime.so
LoadModule dav_module {modules}/mod_dav.so
LoadModule dav_fs_module {modules}/mod_dav_fs.so
TypesConfig /etc/mime.types
ErrorLog {folder}/error.log
DocumentRoot {folder}/www
DavLockDB {folder}/lock/db
<Directory {folder}/www>
    Require all granted
    Dav On
</Directory>
"""


class Apache:
    """A running server; `www` is what it serves."""

    def __init__(self, folder: pathlib.Path):
        self.port, self.www = free_port(), folder / "www"
        user = ""
        for inner in (self.www / "dav", folder / "lock"):
            inner.mkdir(parents=True)
            if os.geteuid() == 0:
                user = "User www-data\nGroup www-data"
                shutil.chown(inner, "www-data", "www-data")
        folder.chmod(0o755)
        configuration = folder / "apache.conf"
        configuration.write_text(
            CONFIGURATION.format(folder=folder, port=self.port, user=user, modules="/usr/lib/apache2/modules")
        )
        self.process = Process("apache", folder, ["apache2", "-f", str(configuration), "-D", "FOREGROUND"])
        self.process.until("listens", lambda: listens(self.port))
        self.url = f"http://127.0.0.1:{self.port}"
