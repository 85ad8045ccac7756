setpriv --reuid=65534 --clear-groups node server.js
