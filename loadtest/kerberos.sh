#!/usr/bin/env bash
# What single sign-on by Kerberos costs: requests/s of one user through the fabric to an application that wants a ticket with each, against
# the same requests to a page that wants none; and the memory that the agent has then.
#
#   cargo build --release --workspace && loadtest/kerberos.sh [SECONDS]
#
# Everything is on this machine, the domain controller and the application too (tests/kit/kerberos). Needs what that needs, curl and h2load (Debian: nghttp2-client).
lab=$(realpath "$(dirname "$0")/../tests/kit/kerberos")
above=$(mktemp -d)
# The application may run as another user.
chmod 755 "$above"
lab_env=$(LAB_DIR=$above/lab "$lab/up") || exit 1
eval "$lab_env"
agent_flags="--kerberos-principal $LAB_AGENT_PRINCIPAL --kerberos-keytab $LAB_AGENT_KEYTAB --krb5-conf $KRB5_CONFIG"
. "$(dirname "$0")/sign_in.sh"
. "$(dirname "$0")/fabric.sh"
trap 'kill $(jobs -p) 2>/dev/null; wait 2>/dev/null; "$lab/down" >/dev/null 2>&1; rm -rf "$work" "$above"' EXIT
seconds=${1:-10}

agent a1; a1=$!
until_true linked a1
password=$("$bin/adit" user create alice 2>/dev/null)
publish() { # NAME MORE...
    "$bin/adit" app publish "$1" --host "$1.localhost" --origin "http://$LAB_APP_ADDR" --access sign-in --assign-everyone "${@:2}" >/dev/null
}
publish plain
publish hr --sso kerberos --sso-spn "$LAB_APP_SPN" --sso-identity user --sso-name-form account

sign_in "https://hr.localhost:$edge/whoami" control/ca.pem jar alice "$password"
page=$(browse "https://hr.localhost:$edge/whoami")
echo "the application says: $page"
[[ $page = *user=alice* ]] || exit 1
browse -o /dev/null --resolve "plain.localhost:$edge:127.0.0.1" "https://plain.localhost:$edge/public"

ask() { # NAME PATH
    h2load --h1 -t 2 -c 64 -D "$seconds" --connect-to="127.0.0.1:$edge" -H "cookie: $(session jar "$1.localhost")" "https://$1.localhost:$edge$2" |
        grep -E '^finished|^status codes|^time for request' | tr -s ' \n' ' '
    echo
}
echo "without a ticket: $(ask plain /public)"
echo "a ticket each:    $(ask hr /whoami)"
echo "agent: $(memory "$a1")"
