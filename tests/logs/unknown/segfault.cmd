gcc -o server a.c 2>/dev/null; bash -c './server; exit $?'
