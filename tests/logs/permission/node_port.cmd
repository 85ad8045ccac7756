setpriv --reuid=65534 --clear-groups --inh-caps=-all --bounding-set=-all node server.js
