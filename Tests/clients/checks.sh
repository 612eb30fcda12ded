# What the shell scripts of the client checks share: one line a check, and the counts.
#
# Each check appends one line to the file $KEDIS_CLIENT_RESULTS ("ok NAME" or "FAILED NAME"), so that checks of several
# programs add up to one count.

passed() {
    echo "ok      $1"
    echo "ok $1" >>"$KEDIS_CLIENT_RESULTS"
}

failed() {
    echo "FAILED  $1"
    [ $# -lt 2 ] || printf '%s\n' "$2" | head -c 2000 | sed 's/^/        /'
    echo "FAILED $1" >>"$KEDIS_CLIENT_RESULTS"
}

# expect NAME WANTED ACTUAL: both texts are equal.
expect() {
    if [ "$2" = "$3" ]; then passed "$1"; else failed "$1" "wanted: $2
got:    $3"; fi
}

# expect_match NAME PATTERN ACTUAL: the text matches an extended regular expression, in one of its lines.
expect_match() {
    if printf '%s\n' "$3" | grep -Eq -- "$2"; then passed "$1"; else failed "$1" "wanted: /$2/
got:    $3"; fi
}
