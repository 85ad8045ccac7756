printf '\177ELF\2\1\1\0' > server; chmod +x server; bash -c ./server
