honcho start
