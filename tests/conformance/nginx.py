"""nginx as an origin: behind TCP, TLS or a Unix socket."""

import pathlib

from fabric import Process, listens

CONFIGURATION = """
daemon off; master_process off; pid nginx.pid; error_log stderr; events {{}}
http {{
    access_log off;
    client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path f; uwsgi_temp_path u; scgi_temp_path s;
    server {{ listen {listen}; {more} root www; }}
}}
"""


class Nginx:
    """A server of `folder`/www, whose index page is its name; `listen` is as nginx has it."""

    def __init__(self, folder: pathlib.Path, name: str, listen: str, more: str = ""):
        self.folder, self.name, self.listen, self.www = folder, name, listen, folder / "www"
        self.www.mkdir(parents=True)
        (self.www / "index.html").write_text(name)
        (folder / "nginx.conf").write_text(CONFIGURATION.format(listen=listen, more=more))
        self.start()

    def start(self):
        """For the first time, or again."""
        command = ["nginx", "-e", "stderr", "-p", str(self.folder), "-c", "nginx.conf"]
        self.process = Process(self.name, self.folder, command)
        self.process.until("listens", self.is_there)

    def is_there(self) -> bool:
        address = self.listen.split()[0]
        if address.startswith("unix:"):
            return pathlib.Path(address.removeprefix("unix:")).exists()
        return listens(int(address.rpartition(":")[2]))

    def kill(self):
        """Ends it with no warning."""
        self.process.child.kill()
        self.process.child.wait()
