"""A real sign-in form with a CSRF token: the admin pages of Django, for one user.

`admin.py FOLDER USER` reads the user's password from standard input, and prints its port. Besides the admin pages it has
  /attempts       how many forms were sent to sign in
  /end-sessions   ends all sessions, as time would
  /password       changes the user's password to what the query says
  /upload         says how many bytes came, to whom, if they are signed in
"""

import os
import socketserver
import sys
import threading
import wsgiref.simple_server

import django
from django.conf import settings

ATTEMPTS = {"number": 0}


class Attempts:
    """Counts the forms that are sent to sign in."""

    def __init__(self, get_response):
        self.get_response = get_response

    def __call__(self, request):
        if request.method == "POST" and request.path == "/admin/login/":
            ATTEMPTS["number"] += 1
        return self.get_response(request)


class Server(socketserver.ThreadingMixIn, wsgiref.simple_server.WSGIServer):
    daemon_threads = True


class Handler(wsgiref.simple_server.WSGIRequestHandler):
    def log_message(self, *_):
        pass


def configure(folder):
    settings.configure(
        ALLOWED_HOSTS=["*"],
        DATABASES={
            "default": {
                "ENGINE": "django.db.backends.sqlite3",
                "NAME": os.path.join(folder, "admin.sqlite"),
            }
        },
        DEFAULT_AUTO_FIELD="django.db.models.AutoField",
        INSTALLED_APPS=[
            "django.contrib.admin",
            "django.contrib.auth",
            "django.contrib.contenttypes",
            "django.contrib.messages",
            "django.contrib.sessions",
        ],
        MIDDLEWARE=[
            "__main__.Attempts",
            "django.contrib.sessions.middleware.SessionMiddleware",
            "django.middleware.csrf.CsrfViewMiddleware",
            "django.contrib.auth.middleware.AuthenticationMiddleware",
            "django.contrib.messages.middleware.MessageMiddleware",
        ],
        ROOT_URLCONF=__name__,
        SECRET_KEY="of a test",
        STATIC_URL="/static/",
        TEMPLATES=[
            {
                "BACKEND": "django.template.backends.django.DjangoTemplates",
                "APP_DIRS": True,
                "OPTIONS": {
                    "context_processors": [
                        "django.contrib.auth.context_processors.auth",
                        "django.contrib.messages.context_processors.messages",
                        "django.template.context_processors.request",
                    ]
                },
            }
        ],
    )
    django.setup()


def pages(user):
    from django.contrib import admin
    from django.contrib.auth.models import User
    from django.contrib.sessions.models import Session
    from django.http import HttpResponse, HttpResponseRedirect
    from django.urls import path
    from django.views.decorators.csrf import csrf_exempt

    def attempts(_):
        return HttpResponse(str(ATTEMPTS["number"]))

    def end_sessions(_):
        Session.objects.all().delete()
        return HttpResponse("ended")

    def password(request):
        known = User.objects.get(username=user)
        known.set_password(request.META["QUERY_STRING"])
        known.save()
        return HttpResponse("changed")

    @csrf_exempt
    def upload(request):
        if not request.user.is_authenticated:
            return HttpResponseRedirect("/admin/login/?next=/upload")
        return HttpResponse(f"{len(request.body)} bytes of {request.user.username}")

    return [
        path("admin/", admin.site.urls),
        path("attempts", attempts),
        path("end-sessions", end_sessions),
        path("password", password),
        path("upload", upload),
    ]


def main():
    folder, user = sys.argv[1:]
    password = sys.stdin.readline().rstrip("\n")
    configure(folder)
    from django.core.management import call_command
    from django.core.wsgi import get_wsgi_application

    call_command("migrate", verbosity=0)
    from django.contrib.auth.models import User

    User.objects.create_superuser(user, "", password)
    global urlpatterns
    urlpatterns = pages(user)
    server = wsgiref.simple_server.make_server(
        "127.0.0.1", 0, get_wsgi_application(), server_class=Server, handler_class=Handler
    )
    print(server.server_port, flush=True)
    # Whoever started it holds the other end.
    threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
    server.serve_forever()


if __name__ == "__main__":
    main()
