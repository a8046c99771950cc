# Sourced by what signs users in. Needs the `until_true` of whoever sources it.

# sign_in URL CA JAR USER PASSWORD: as a browser does it, with a new account, at the sign-in host beside the URL's, on this machine.
# The file JAR keeps the cookies; `browse` asks with them from then on.
sign_in() {
    local url=$1 ca=$2 jar=$3 user=$4 password=$5 host port auth page chosen
    host=${url#https://} host=${host%%/*}
    port=${host##*:} host=${host%:*}
    auth=auth.${host#*.}
    browser=(curl -sS -L --max-time 5 --stderr "$jar.log" --cacert "$ca" -b "$jar" -c "$jar" -H 'accept: text/html')
    browser+=(--resolve "$host:$port:127.0.0.1" --resolve "$auth:$port:127.0.0.1")
    is_asked() { page=$(browse "$url") && [[ $page = *'name="to"'* ]]; }
    until_true is_asked
    field() { sed -n "s/.*name=\"$1\" value=\"\([^\"]*\)\".*/\1/p" <<<"$page" | head -n 1; }
    chosen=$(head -c 16 /dev/urandom | od -An -tx1 | tr -d ' \n')
    browse -o /dev/null --data-urlencode "token=$(field token)" --data-urlencode "to=$(field to)" --data-urlencode "user=$user" \
        --data-urlencode "password=$password" --data-urlencode "new=$chosen" --data-urlencode "again=$chosen" "https://$auth:$port/change-password"
}
browse() { "${browser[@]}" "$@"; }

# session JAR HOST: the cookie by which the app of that host knows the browser.
session() { awk -v host="$2" '$1 ~ host && $6 == "__Host-adit-app" { print $6 "=" $7 }' "$1"; }
