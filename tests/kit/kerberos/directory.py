#!/usr/bin/python3
"""Creates the lab's domain, its accounts and their keytabs.

usage: directory.py SMB_CONF KEYTAB_DIR

Uses the provisioning library rather than `samba-tool domain provision`: one
process for everything is faster, and leaving out the sysvol ACLs makes it work
without root and on file systems that have no extended attributes.
"""
import logging
import os
import sys

sys.path.insert(0, "/usr/lib/python3/dist-packages")
import ldb
import samba
from samba import dsdb
from samba.auth import system_session
from samba.credentials import Credentials
from samba.net import Net
from samba.param import LoadParm
from samba.provision import provision
from samba.samdb import SamDB

samba.enable_net_export_keytab()

REALM = os.environ.get("LAB_REALM", "LAB.TEST")
DNS = REALM.lower()
USER_PASSWORD = os.environ.get("LAB_USER_PASSWORD", "Lab-User-1!")
CROWD = int(os.environ.get("LAB_CROWD", "0"))
GROUPS = int(os.environ.get("LAB_GROUPS", "0"))
AES = "24"  # msDS-SupportedEncryptionTypes: AES128 and AES256, no RC4

conf, keytabs = sys.argv[1:3]
lp = LoadParm()
lp.load(conf)
os.umask(0o077)

log = logging.getLogger("provision")
log.addHandler(logging.NullHandler())
log.propagate = False
provision(
    log, system_session(lp), smbconf=conf, lp=lp, realm=REALM,
    domain=REALM.split(".")[0], hostname="dc1", hostip="127.0.0.1",
    serverrole="active directory domain controller", dns_backend="NONE",
    dom_for_fun_level=dsdb.DS_DOMAIN_FUNCTION_2008_R2,
    adminpass=samba.generate_random_password(24, 32), skip_sysvolacl=True,
    batch_mode=True,
)

sam = SamDB(session_info=system_session(lp), lp=lp)
base = str(sam.domain_dn())


def account(name, upn=None, spns=(), flags=0, delegate_to=(), password=None):
    sam.newuser(name, password or samba.generate_random_password(24, 32))
    dn = "CN=%s,CN=Users,%s" % (name, base)
    values = {
        "userPrincipalName": upn or "%s@%s" % (name, DNS),
        "userAccountControl": str(dsdb.UF_NORMAL_ACCOUNT | dsdb.UF_DONT_EXPIRE_PASSWD | flags),
    }
    if spns:
        values["servicePrincipalName"] = list(spns)
        values["msDS-SupportedEncryptionTypes"] = AES
    if delegate_to:
        values["msDS-AllowedToDelegateTo"] = list(delegate_to)
    message = ldb.Message(ldb.Dn(sam, dn))
    for key, value in values.items():
        message[key] = ldb.MessageElement(value, ldb.FLAG_MOD_REPLACE, key)
    sam.modify(message)


def keytab(filename, principal):
    credentials = Credentials()
    credentials.guess(lp)
    Net(credentials, lp).export_keytab(
        keytab=os.path.join(keytabs, filename), principal="%s@%s" % (principal, REALM))


sam.transaction_start()

# The people.
account("alice", password=USER_PASSWORD)
account("bsmith", upn="bob@corp.example", password=USER_PASSWORD)
account("carol", flags=dsdb.UF_NOT_DELEGATED, password=USER_PASSWORD)
account("dave", flags=dsdb.UF_ACCOUNTDISABLE, password=USER_PASSWORD)

# Many more of them, without passwords of their own, which nobody needs here.
for number in range(CROWD):
    name = "crowd%04d" % number
    sam.add({
        "dn": "CN=%s,CN=Users,%s" % (name, base),
        "objectClass": "user",
        "sAMAccountName": name,
        "userPrincipalName": "%s@%s" % (name, DNS),
        "userAccountControl": str(dsdb.UF_NORMAL_ACCOUNT | dsdb.UF_PASSWD_NOTREQD | dsdb.UF_DONT_EXPIRE_PASSWD),
    })

# Somebody whose tickets are long: each group is named in them.
if GROUPS:
    account("grace", password=USER_PASSWORD)
for number in range(GROUPS):
    sam.add({
        "dn": "CN=group%04d,CN=Users,%s" % (number, base),
        "objectClass": "group",
        "sAMAccountName": "group%04d" % number,
        "member": "CN=grace,CN=Users,%s" % base,
    })

# The applications. "ghost" is delegated to below but no account has its name.
account("svc-app", spns=["HTTP/app." + DNS])
account("svc-second", spns=["HTTP/second." + DNS])
account("svc-other", spns=["HTTP/other." + DNS])
account("svc-stale", spns=["HTTP/stale." + DNS])

# The agent: as it should be, without protocol transition, without delegation.
targets = ["HTTP/%s.%s" % (app, DNS) for app in ("app", "second", "stale", "ghost")]
account("svc-agent", spns=["agent/agent." + DNS], delegate_to=targets,
        flags=dsdb.UF_TRUSTED_TO_AUTHENTICATE_FOR_DELEGATION)
account("svc-agent-kcd", spns=["agent/agent-kcd." + DNS], delegate_to=targets)
account("svc-agent-none", spns=["agent/agent-none." + DNS])

sam.transaction_commit()

keytab("agent.keytab", "svc-agent")
keytab("agent-kcd.keytab", "svc-agent-kcd")
keytab("agent-none.keytab", "svc-agent-none")
keytab("app.keytab", "HTTP/app." + DNS)
keytab("second.keytab", "HTTP/second." + DNS)
keytab("other.keytab", "HTTP/other." + DNS)

# Two keytabs that have gone stale: exported, then the password was changed.
keytab("stale.keytab", "HTTP/stale." + DNS)
sam.setpassword("(sAMAccountName=svc-stale)", samba.generate_random_password(24, 32))
account("svc-agent-stale", spns=["agent/agent-stale." + DNS])
keytab("agent-stale.keytab", "svc-agent-stale")
sam.setpassword("(sAMAccountName=svc-agent-stale)", samba.generate_random_password(24, 32))
