bash -c ./entrypoint.sh
