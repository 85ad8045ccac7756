bash -c 'echo starting; echo pid > /dev/full'
